"""Small changes of a Python file, each of which a test should notice.

Left alone are strings, annotations, messages of errors, assertions and decorators, and what cannot change what a
function gives: whether ``zip`` is strict, whether a copy may be saved, how far up a warning points.  Only the insides
and the defaults of functions are changed: the rest of a file is run by an import, of which no test is the one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_COMPARISONS: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Lt: ast.LtE(),
    ast.LtE: ast.Lt(),
    ast.Gt: ast.GtE(),
    ast.GtE: ast.Gt(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
    ast.Is: ast.IsNot(),
    ast.IsNot: ast.Is(),
    ast.In: ast.NotIn(),
    ast.NotIn: ast.In(),
}
_SUMS: dict[type[ast.operator], ast.operator] = {ast.Add: ast.Sub(), ast.Sub: ast.Add()}
_JOINTS: dict[type[ast.boolop], ast.boolop] = {ast.And: ast.Or(), ast.Or: ast.And()}
_NEGATED_BY_SWAP = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)
_HARMLESS_KEYWORDS = {"strict", "copy", "stacklevel"}
_HARMLESS_CALLS = {"debug", "cast", "isinstance"}
"""Functions whose call is not removed and whose arguments are not changed."""


@dataclass(frozen=True)
class Mutant:
    """One change: the bytes of a file from ``start`` to ``end`` become ``after``.

    ``line``, counted from 1, is where it is.  ``run`` are the lines of which one, if it is run, says that the change
    is too.
    """

    line: int
    kind: str
    before: str
    after: str
    start: int
    end: int
    run: range

    def apply(self, source: bytes) -> bytes:
        """The file with the change."""
        return source[: self.start] + self.after.encode() + source[self.end :]


@dataclass(frozen=True)
class _Change:
    """A node and what stands in its place."""

    node: ast.expr | ast.stmt
    kind: str
    after: str
    run: range | None = None


def mutants(source: bytes) -> list[Mutant]:
    """All changes of a file that are made here, in its order."""
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    found = []
    for change in _functions(ast.parse(source)):
        node = change.node
        assert node.end_lineno is not None and node.end_col_offset is not None
        start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        before = source[start:end].decode()
        if before != change.after:
            run = change.run or range(node.lineno, node.lineno + 1)
            found.append(Mutant(node.lineno, change.kind, before, change.after, start, end, run))
    return sorted(set(found), key=lambda each: (each.start, each.end, each.kind, each.after))


def _functions(tree: ast.AST) -> Iterator[_Change]:
    """The changes inside functions, at any depth of classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, _Function):
            yield from _of_function(node)
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from _functions(node)


def _of_function(function: _Function) -> Iterator[_Change]:
    if any("overload" in ast.unparse(decorator) for decorator in function.decorator_list):
        return
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    if body:
        first = body[0]
        run = range(first.lineno, (first.end_lineno or first.lineno) + 1)
        for default in (*function.args.defaults, *function.args.kw_defaults):
            if isinstance(default, ast.Constant):
                for change in _constant(default):
                    yield _Change(default, "default", change.after, run)
    for statement in body:
        yield from _inside(statement)


def _inside(node: ast.AST) -> Iterator[_Change]:
    """The changes of a node, and of the nodes in it."""
    if isinstance(node, ast.JoinedStr | ast.Assert):
        return
    if isinstance(node, _Function):
        yield from _of_function(node)
        return
    if isinstance(node, ast.Raise):
        yield _Change(node, "statement removed", "pass")
        return
    if isinstance(node, ast.AnnAssign):
        if node.value is not None:
            yield from _inside(node.value)
        return
    if isinstance(node, ast.Call) and _name(node.func) in _HARMLESS_CALLS:
        return
    if isinstance(node, ast.keyword) and node.arg in _HARMLESS_KEYWORDS:
        return
    yield from _own(node)
    for child in ast.iter_child_nodes(node):
        yield from _inside(child)


def _own(node: ast.AST) -> Iterator[_Change]:
    match node:
        case ast.Compare():
            for i, operator in enumerate(node.ops):
                ops = [*node.ops[:i], _COMPARISONS[type(operator)], *node.ops[i + 1 :]]
                yield _Change(node, "comparison", _text(ast.Compare(node.left, ops, node.comparators)))
        case ast.BinOp(op=ast.Add() | ast.Sub()) if not (_is_text(node.left) or _is_text(node.right)):
            yield _Change(node, "plus and minus", _text(ast.BinOp(node.left, _SUMS[type(node.op)], node.right)))
        case ast.BoolOp():
            yield _Change(node, "and and or", _text(ast.BoolOp(_JOINTS[type(node.op)], node.values)))
        case ast.Constant():
            yield from _constant(node)
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield _Change(node, "return value", "return None")
        case ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()) | ast.AugAssign() | ast.Continue():
            if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _harmless(node.value)):
                yield _Change(node, "statement removed", "pass")
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield _Change(node, "statement removed", "pass")
    for test in _tests(node):
        yield from _negated(test)


def _constant(node: ast.Constant) -> Iterator[_Change]:
    match node.value:
        case bool():
            yield _Change(node, "true and false", str(not node.value))
        case int() | float():
            yield _Change(node, "number", repr(node.value + 1))


def _tests(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.If() | ast.IfExp() | ast.While():
            yield node.test
        case ast.comprehension():
            yield from node.ifs


def _negated(test: ast.expr) -> Iterator[_Change]:
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yield _Change(test, "condition", _text(test.operand))
    elif not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], _NEGATED_BY_SWAP)):
        yield _Change(test, "condition", _text(ast.UnaryOp(ast.Not(), test)))


def _text(node: ast.expr) -> str:
    """In parentheses, since what stands around it may bind more tightly."""
    return f"({ast.unparse(ast.fix_missing_locations(node))})"


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _harmless(call: ast.Call) -> bool:
    return _name(call.func) in _HARMLESS_CALLS
