"""The query language: what is written is what is read, and what cannot be read says why."""

from __future__ import annotations

import random
import re
import unicodedata
from dataclasses import fields, is_dataclass, replace
from itertools import combinations, count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdb.errors import ParseError, printable
from kdb.language import parser
from kdb.language.parser import keywords, parse, parse_one
from kdb.language.syntax import (
    AllClasses,
    Approximate,
    At,
    Box,
    Calibrate,
    Classes,
    ClassOf,
    CreateModel,
    DescribeModel,
    DrillDown,
    DropModel,
    Explain,
    Fill,
    Local,
    Manifest,
    Mask,
    ModelRef,
    Name,
    Occlude,
    Parameter,
    Patch,
    Predicted,
    Processes,
    Ray,
    ResetOption,
    ResumeRun,
    RunInto,
    SetOption,
    Shard,
    ShowCalibration,
    ShowModels,
    ShowRules,
    ShowRun,
    ShowSettings,
    Text,
    Threshold,
    TopClasses,
    Tune,
    VerifyFile,
    VerifyQuery,
    parameters,
    quote,
)

# ---- any tree

names = st.sampled_from(["image", "x1", "_", "été", "Ω", *keywords()])
settings_names = st.lists(names, min_size=1, max_size=3).map(".".join)
texts = st.one_of(st.text(max_size=12), names, st.sampled_from(["it's", "''", "a\nb", "-- no", ";", "images/*.png"]))
model_names = st.one_of(texts, names, st.sampled_from(["timm/resnet50.a1_in1k", "a.b/c.d", "a..b"]))
placeholder = Parameter(index=0)  # numbered by `numbered` once the script is complete
params = st.one_of(st.just(placeholder), st.builds(Parameter, name=names))
pixels = st.integers(0, 10**6)
numbers = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)  # no -0.0
scalars = st.one_of(st.booleans(), st.integers(), numbers, texts, params)
values = st.one_of(scalars, st.lists(scalars, max_size=4).map(tuple))
options = st.lists(st.tuples(settings_names, values), max_size=3, unique_by=lambda option: option[0]).map(tuple)
models = st.one_of(
    st.builds(ModelRef, model_names, options), st.builds(ModelRef, st.just(""), options, parameter=params)
)
sources = st.one_of(
    st.builds(Text, texts, options), st.builds(Manifest, texts, options), st.builds(Name, names), params
)
fills = st.one_of(
    st.builds(Fill, st.sampled_from(["black", "gray", "white", "mean"])),
    st.builds(Fill, st.just("rgb"), st.tuples(numbers, numbers, numbers)),
    st.builds(Fill, st.just("blur"), st.tuples(numbers)),
    st.builds(Fill, st.just("number"), st.tuples(numbers | numbers.map(lambda number: 0.0 - number))),
    st.builds(Fill, st.just("parameter"), parameter=params),
)
by_axis = st.integers(1, 3).flatmap(lambda axes: st.tuples(*[pixels] * axes))
patches = st.builds(Patch, by_axis, fills)
strides = st.none() | by_axis
boxes = st.integers(1, 3).flatmap(lambda axes: st.builds(Box, *[st.tuples(*[pixels] * axes)] * 2, st.booleans()))
refs = st.one_of(pixels, texts, params)
classes = st.one_of(
    st.builds(Predicted),
    st.builds(ClassOf, refs),
    st.lists(refs, min_size=1, max_size=3).map(lambda found: Classes(tuple(found))),
    st.builds(TopClasses, pixels),
    st.builds(AllClasses),
)
regions = st.one_of(st.none(), boxes, st.builds(Mask, params, st.booleans()), st.builds(At, params))
ssims = st.none() | numbers
scores = st.sampled_from(["probability", "drop", "logit", "logit_drop"])
approximate = st.builds(Approximate, st.none(), st.just(False), ssims) | st.builds(
    Approximate, numbers, st.booleans(), ssims
)
thresholds = st.builds(Threshold, numbers) | st.builds(Threshold, auto=st.just(True), ssim=ssims)
drill_downs = st.builds(DrillDown, numbers, numbers) | st.builds(DrillDown, numbers, st.none(), pixels)


counts = pixels | params
vias = st.one_of(
    st.none(),
    st.just(Local()),
    st.builds(Processes, counts),
    st.builds(Shard, counts, counts),
    st.builds(Ray, options),
)
runs = st.builds(RunInto, texts, options, vias)


@st.composite
def occludes(draw: st.DrawFn) -> Occlude:
    exact = draw(st.booleans())
    into = draw(st.none() | texts)
    return Occlude(
        source=draw(sources),
        model=draw(models),
        patch=draw(patches),
        stride=draw(strides),
        classes=draw(classes),
        score=draw(scores),
        region=draw(regions),
        exact=exact,
        approximate=None if exact else draw(st.none() | approximate),
        threshold=draw(st.none() | thresholds),
        drill_down=draw(st.none() | drill_downs),
        budget_seconds=draw(st.none() | numbers),
        precision=draw(st.sampled_from(["fp32", "tf32", "bf16"])),
        device=draw(st.sampled_from(["auto", "cpu", "gpu"])),
        into=into,
        run=draw(st.none() | runs) if into is None else None,
    )


statements = st.one_of(
    occludes(),
    st.builds(Explain, occludes(), st.booleans(), st.sampled_from(["text", "json", "dot"])),
    st.builds(VerifyQuery, occludes()),
    st.builds(VerifyFile, texts, st.none() | models),
    st.builds(Tune, models, sources, patches, strides, scores, ssims),
    st.builds(ResumeRun, texts, vias),
    st.builds(ShowRun, texts),
    st.builds(CreateModel, model_names, texts, options, st.booleans()),
    st.builds(DropModel, model_names),
    st.builds(DescribeModel, models),
    st.builds(SetOption, settings_names, values),
    st.builds(ResetOption, settings_names),
    st.sampled_from([ShowModels(), ShowSettings(), ShowRules(), ShowCalibration(), Calibrate()]),
)


def numbered(node: Any, index: count[int]) -> Any:
    """The same tree with its ``?`` numbered in the order of the fields, which is a possible order of the text."""
    if node == placeholder:
        return Parameter(index=next(index))
    if isinstance(node, tuple):
        return tuple(numbered(item, index) for item in node)
    if isinstance(node, ModelRef):  # the one node whose text has another order
        parameter = numbered(node.parameter, index)
        return ModelRef(node.name, numbered(node.options, index), parameter)
    if is_dataclass(node):
        children = {field.name: numbered(getattr(node, field.name), index) for field in fields(node)}
        return replace(node, **children)  # type: ignore[type-var]
    return node


@settings(max_examples=150)
@given(st.lists(statements, max_size=3))
def test_canonical_text_reads_back_as_the_same_tree(found: list[Any]) -> None:
    script = numbered(tuple(found), count())
    again = parse(" ;\n".join(statement.to_text() for statement in script))
    assert again == script
    assert repr(again) == repr(script)  # == alone takes 1, 1.0 and True for one
    assert hash(again) == hash(script)


# ---- clauses

CLAUSES = {
    "WITH": ["WITH patch(8, 12) FILL rgb(1, 2.5, 3)"],
    "STRIDE": ["STRIDE 3", "STRIDE (2, 3)"],
    "USING": ["USING timm/resnet50.a1_in1k (weights = random, input = (0.4, 0.5, 0.6))"],
    "FOR": ["FOR PREDICTED", "FOR CLASS 281", "FOR CLASSES (1, 'tabby, cat')", "FOR TOP 5", "FOR ALL CLASSES"],
    "SCORE": ["SCORE logit_drop"],
    "WITHIN or AT": ["WITHIN box(1, 2, 30, 40)", "WITHIN mask($m)", "AT $positions"],
    "EXACT or APPROXIMATE": ["EXACT", "APPROXIMATE TO SSIM .95 GUARANTEED REFINE TOP 5 PERCENT"],
    "THRESHOLD": ["THRESHOLD 0.5", "THRESHOLD AUTO TO SSIM 0.9"],
    "DRILL DOWN": ["DRILL DOWN 0.3 COARSE STRIDE 8", "DRILL DOWN SPEEDUP 4"],
    "BUDGET": ["BUDGET 2.5 SECONDS"],
    "PRECISION": ["PRECISION bf16"],
    "ON": ["ON gpu"],
    "INTO": ["INTO 'it''s.png'", "INTO RUN 'a run' (maps = 2) VIA ray(workers = 2, cpus = 1)"],
}


@st.composite
def clause_lists(draw: st.DrawFn) -> list[str]:
    return [
        draw(st.sampled_from(choices)) for name, choices in CLAUSES.items() if name == "USING" or draw(st.booleans())
    ]


def dressed(text: str, rng: random.Random) -> str:
    """The same query in other clothes: the keywords' case, and what separates words."""
    known = {word.lower() for word in keywords()}
    pieces = text.split("'")
    for index in range(0, len(pieces), 2):
        words = re.split(r"(\w+)", pieces[index])
        words = [word.swapcase() if word.lower() in known and rng.random() < 0.5 else word for word in words]
        pieces[index] = "".join(words).replace(" ", rng.choice([" ", "\n\t", " -- it's a 'comment'\r\n "]))
    return "'".join(pieces)


@settings(max_examples=150)
@given(clause_lists(), st.randoms(use_true_random=False))
def test_clauses_come_in_any_order_case_and_layout(clauses: list[str], rng: random.Random) -> None:
    query = parse_one("OCCLUDE 'a.png' " + " ".join(clauses))
    shuffled = list(clauses)
    rng.shuffle(shuffled)
    assert parse_one("OCCLUDE 'a.png' " + " ".join(shuffled)) == query
    assert parse_one(dressed("OCCLUDE 'a.png' " + " ".join(shuffled), rng)) == query


@given(st.permutations(["USING ?", "FOR CLASSES (?, ?)", "AT ?", "WITH patch(2, 2) FILL ?", "STRIDE 2"]))
def test_placeholders_are_numbered_as_written_and_stay_so(clauses: list[str]) -> None:
    script = parse("OCCLUDE ? " + " ".join(clauses) + "; OCCLUDE ? USING m")
    query, other = script
    assert isinstance(query, Occlude) and isinstance(other, Occlude)
    assert sorted(parameter.index for parameter in parameters(script)) == list(range(7))  # type: ignore[type-var]
    assert query.source == Parameter(index=0) and other.source == Parameter(index=6)
    where = 1 + sum(clause.count("?") for clause in clauses[: clauses.index("AT ?")])
    assert query.region == At(Parameter(index=where))
    assert parse("; ".join(map(str, script))) == script


@pytest.mark.parametrize("name", CLAUSES)
def test_a_repeated_clause_is_refused_at_its_second_place(name: str) -> None:
    using = "" if name == "USING" else "USING m "
    for first, second in [*combinations(CLAUSES[name], 2), *((clause, clause) for clause in CLAUSES[name])]:
        text = f"OCCLUDE x {using}{first} \n {second}"
        with pytest.raises(ParseError, match=f"{name} is there already") as caught:
            parse(text)
        assert (caught.value.line, caught.value.column) == (2, 2)


# ---- examples

IMG, M = Parameter(name="img"), ModelRef("m")
PLAIN = Occlude(Name("x"), M)
EXAMPLES = {
    "OCCLUDE x USING m": PLAIN,
    "OCCLUDE x USING m FOR PREDICTED SCORE probability PRECISION fp32 ON auto": PLAIN,
    "OCCLUDE 'cat.png' WITH patch(16, 16) STRIDE 4 USING resnet18": Occlude(
        Text("cat.png"), ModelRef("resnet18"), Patch((16, 16)), stride=(4,)
    ),
    "OCCLUDE image WITH patch(16,16) STRIDE 4 USING resnet18": Occlude(
        Name("image"), ModelRef("resnet18"), Patch((16, 16)), stride=(4,)
    ),
    "OCCLUDE $img WITH patch(16, 16) STRIDE 4 USING mine": Occlude(IMG, ModelRef("mine"), Patch((16, 16)), stride=(4,)),
    "OCCLUDE $ct WITH patch(8) STRIDE (2, 4, 4) WITHIN box(0, 8, 8, 16, 32, 32) USING lung": Occlude(
        Parameter(name="ct"), ModelRef("lung"), Patch((8,)), (2, 4, 4), region=Box((0, 8, 8), (16, 32, 32))
    ),
    "OCCLUDE x WITHIN box(0, 0, 9, 9) in source USING m": Occlude(Name("x"), M, region=Box((0, 0), (9, 9), True)),
    "OCCLUDE $ecg WITHIN box(100, 50) STRIDE (4) USING m": Occlude(
        Parameter(name="ecg"), M, stride=(4,), region=Box((100,), (50,))
    ),
    "OCCLUDE 'cat.png' USING efficientnet_lite0 INTO 'heat.png'": Occlude(
        Text("cat.png"), ModelRef("efficientnet_lite0"), into="heat.png"
    ),
    "OCCLUDE x USING timm/resnet50.a1_in1k": Occlude(Name("x"), ModelRef("timm/resnet50.a1_in1k")),
    "OCCLUDE x USING 'my model' (resize = 'stretch', layout = NHWC, flag = TRUE, mean = [0.485, 1, -2e-1], n = 3)": (
        Occlude(
            Name("x"),
            ModelRef(
                "my model",
                (("resize", "stretch"), ("layout", "NHWC"), ("flag", True), ("mean", (0.485, 1, -0.2)), ("n", 3)),
            ),
        )
    ),
    "OCCLUDE x USING m WITH patch(3, 5) FILL $patch": Occlude(
        Name("x"), M, Patch((3, 5), Fill("parameter", parameter=Parameter(name="patch")))
    ),
    "OCCLUDE x USING m WITH patch(3, 5) FILL blur(2)": Occlude(Name("x"), M, Patch((3, 5), Fill("blur", (2.0,)))),
    "OCCLUDE x USING m FOR CLASS 'it''s' STRIDE (2, 3)": Occlude(Name("x"), M, stride=(2, 3), classes=ClassOf("it's")),
    "OCCLUDE x USING m APPROXIMATE": Occlude(Name("x"), M, approximate=Approximate()),
    "OCCLUDE x USING m APPROXIMATE TO SSIM 0.8 GUARANTEED REFINE TOP 10 PERCENT": Occlude(
        Name("x"), M, approximate=Approximate(0.8, True, 10.0)
    ),
    "OCCLUDE x USING m EXACT": Occlude(Name("x"), M, exact=True),
    "OCCLUDE x USING m THRESHOLD AUTO": Occlude(Name("x"), M, threshold=Threshold(auto=True)),
    "OCCLUDE x USING m DRILL DOWN": Occlude(Name("x"), M, drill_down=DrillDown(0.25, 3.0)),
    "OCCLUDE x USING m DRILL DOWN COARSE STRIDE 8 STRIDE 2": Occlude(
        Name("x"), M, stride=(2,), drill_down=DrillDown(0.25, None, 8)
    ),
    "EXPLAIN OCCLUDE x USING m": Explain(PLAIN),
    "EXPLAIN ANALYZE (FORMAT json) OCCLUDE x USING m": Explain(PLAIN, True, "json"),
    "OCCLUDE manifest 'a.parquet' (path = 'file', truth = 'class') USING m INTO RUN 'r' VIA shard($i, 16)": Occlude(
        Manifest("a.parquet", (("path", "file"), ("truth", "class"))),
        M,
        run=RunInto("r", via=Shard(Parameter(name="i"), 16)),
    ),
    "OCCLUDE MANIFEST USING m INTO RUN 'r' VIA processes(2)": Occlude(
        Name("MANIFEST"), M, run=RunInto("r", via=Processes(2))
    ),
    "OCCLUDE '*.png' USING m INTO RUN 'r' VIA ray(address = 'auto', gpus = 0.5)": Occlude(
        Text("*.png"), M, run=RunInto("r", via=Ray((("address", "auto"), ("gpus", 0.5))))
    ),
    "RESUME RUN 'it''s' VIA local": ResumeRun("it's", Local()),
    "SHOW RUN 'r'": ShowRun("r"),
    "VERIFY OCCLUDE x USING m": VerifyQuery(PLAIN),
    "VERIFY 'it''s.npz'": VerifyFile("it's.npz"),
    "VERIFY 'map.npz' USING m (input = ?)": VerifyFile("map.npz", ModelRef("m", (("input", Parameter(index=0)),))),
    "TUNE m ON 'images/*.png' WITH patch(8, 8) STRIDE 2 TO SSIM 0.9": Tune(
        M, Text("images/*.png"), Patch((8, 8)), (2,), ssim=0.9
    ),
    "TUNE m ON 'images/*.png'": Tune(M, Text("images/*.png")),
    "CREATE MODEL mine FROM 'm.pt' (input = (224, 224))": CreateModel("mine", "m.pt", (("input", (224, 224)),)),
    "CREATE OR REPLACE MODEL mine FROM 'm.pt'": CreateModel("mine", "m.pt", replace=True),
    "DROP MODEL mine": DropModel("mine"),
    "SHOW MODELS": ShowModels(),
    "DESCRIBE MODEL timm/resnet50.a1_in1k": DescribeModel(ModelRef("timm/resnet50.a1_in1k")),
    "SET rule.fold_batch_norm = off": SetOption("rule.fold_batch_norm", "off"),
    "SET seed = 0": SetOption("seed", 0),
    "RESET seed": ResetOption("seed"),
    "SHOW SETTINGS": ShowSettings(),
    "SHOW RULES": ShowRules(),
    "SHOW CALIBRATION": ShowCalibration(),
    "RESET CALIBRATION": ResetOption("CALIBRATION"),
    "CALIBRATE": Calibrate(),
}


@pytest.mark.parametrize("text", EXAMPLES)
def test_example(text: str) -> None:
    assert repr(parse_one(text)) == repr(EXAMPLES[text])


def test_a_script_is_its_statements_in_order_and_empty_ones_are_skipped() -> None:
    script = "; -- nothing\n" + " ;; ".join(EXAMPLES) + " -- the end"
    assert parse(script) == tuple(EXAMPLES.values())
    assert parse(" \n;; -- nothing") == ()


@pytest.mark.parametrize("word", keywords())
def test_keywords_are_not_reserved(word: str) -> None:
    for name in (word, word.swapcase()):
        query = parse_one(f"OCCLUDE {name} STRIDE 2 USING {name} ({name} = {name}) AT ${name}")
        assert query == Occlude(
            Name(name), ModelRef(name, ((name, name),)), stride=(2,), region=At(Parameter(name=name))
        )
        assert parse_one(f"TUNE {name} ON {name} STRIDE 2") == Tune(ModelRef(name), Name(name), stride=(2,))
        assert parse_one(f"VERIFY 'f' USING {name}") == VerifyFile("f", ModelRef(name))
        assert parse_one(f"CREATE OR REPLACE MODEL {name} FROM 'f'") == CreateModel(name, "f", replace=True)
        assert parse_one(f"DROP MODEL {name}") == DropModel(name)
        assert parse_one(f"DESCRIBE MODEL {name}") == DescribeModel(ModelRef(name))
        assert parse_one(f"SET {name}.{name} = {name}") == SetOption(f"{name}.{name}", name)


def test_keywords_are_listed_once_each() -> None:
    lowered = [word.lower() for word in keywords()]
    assert len(set(lowered)) == len(lowered)
    assert {"occlude", "using", "fp32", "logit_drop", "percent"} <= set(lowered)


def test_the_packaged_grammar_comes_before_the_repository_s(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = parser.grammar()
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path / package)
    assert parser.grammar() == repository
    (tmp_path / "kdb" / "grammar").mkdir(parents=True)
    (tmp_path / "kdb" / "grammar" / "kdb.lark").write_text("packaged")
    assert parser.grammar() == "packaged"


# ---- errors


@pytest.mark.parametrize(("word", "hint"), [("manfest", "did you mean MANIFEST?"), ("x", "")])
def test_a_string_behind_another_word_than_manifest_is_refused(word: str, hint: str) -> None:
    with pytest.raises(ParseError, match=f"did not expect a string behind {word}") as caught:
        parse(f"OCCLUDE {word} 'a.csv' USING m")
    assert hint in str(caught.value)


@pytest.mark.parametrize("text", [None, 3, b"SHOW RULES", ["SHOW RULES"]])
def test_what_is_no_text_is_refused(text: Any) -> None:
    with pytest.raises(ParseError, match="a query is a text, not"):
        parser.parse(text)
    with pytest.raises(ParseError, match="a query is a text, not"):
        parser.parse_one(text)


ERRORS = [  # text, line, column, parts of the message
    ("OCCLUDE 'a.png' STRID 4 USING m", 1, 17, ["did you mean STRIDE?"]),
    ("OCCLUDE x\n  USNG resnet18", 2, 3, ["  USNG resnet18", "did you mean USING?"]),
    ("OCLUDE x USING m", 1, 1, ["expected OCCLUDE, EXPLAIN", "did you mean OCCLUDE?"]),
    ("OCCLUDE x USING m STRIDE4", 1, 19, ["did you mean STRIDE?"]),
    ("OCCLUDE x USING m PRECISION fp16", 1, 29, ["expected fp32, tf32, bf16", "did you mean bf16?"]),
    ("OCCLUDE x USING m SCORE logits", 1, 25, ["did you mean logit?"]),
    ("OCCLUDE x USING m ON gpus", 1, 22, ["did you mean gpu?"]),
    ("VERFY 'map.npz'", 1, 1, ["expected OCCLUDE, EXPLAIN, VERIFY", "did you mean VERIFY?"]),
    ("VERIFY map.npz", 1, 8, ["expected a quoted string, OCCLUDE", "did you mean 'map.npz'?"]),
    ("VERIFY 'map.npz' STRIDE 2", 1, 18, ["did not expect STRIDE", "expected USING"]),
    ("VERIFY OCCLUDE x", 1, 17, ["USING is required"]),
    ("SHOW MODEL", 1, 6, ["expected RUN, MODELS, SETTINGS, RULES", "did you mean MODELS?"]),
    ("OCCLUDE x", 1, 10, ["USING is required", "expected USING"]),
    ("SHOW RULES;\nEXPLAIN OCCLUDE x STRIDE 4 ; SHOW RULES", 2, 27, ["USING is required"]),
    ("OCCLUDE", 1, 8, ["ends too early", "expected a name, a parameter ($name or ?), a quoted string"]),
    ("OCCLUDE x USING m STRIDE\n\n", 1, 25, ["ends too early", "a number"]),
    ("OCCLUDE x USING m STRIDE -4", 1, 26, ["-4", "expected a whole number from 1"]),
    ("OCCLUDE x USING m STRIDE 4.0", 1, 26, ["4.0", "expected a whole number from 1"]),
    ("OCCLUDE x USING m WITH patch(16, 1e1)", 1, 34, ["1e1", "a whole number"]),
    ("OCCLUDE x USING m WITHIN box(0, -1, 2, 3)", 1, 33, ["-1", "a whole number, 0 or more"]),
    ("OCCLUDE x USING m WITH patch(-1, 16)", 1, 30, ["-1", "a whole number from 1"]),
    ("OCCLUDE x USING m SCORE prob", 1, 25, ["did you mean probability?"]),
    ("OCCLUDE x USING m WITH patch(2, 2) FILL red", 1, 41, ["did you mean rgb(255, 0, 0)?"]),
    ("OCCLUDE x USING m WITH patch(2, 2) FILL grey", 1, 41, ["did you mean gray?"]),
    ("OCCLUDE x USING m ON cuda", 1, 22, ["did you mean gpu?"]),
    ("OCCLUDE \u2018cat.png\u2019 USING m", 1, 9, ["straight single quotes", "did you mean 'cat.png'?"]),
    ("OCCLUDE x USING m INTO \u201ca b.png\u201d", 1, 24, ["straight single quotes", "did you mean 'a b.png'?"]),
    ("OCCLUDE USING n", 1, 9, ["the image is missing", "USING", "a quoted string"]),
    ("EXPLAIN OCCLUDE WITH patch(2, 2) USING n", 1, 17, ["the image is missing"]),
    ("OCCLUDE x USING m STRIDE 4px", 1, 26, ["did not expect 4px", "expected a number, '('"]),
    ("OCCLUDE x USING m WITH patch(16", 1, 32, ["the query ends too early", "expected ')', ','"]),
    ("OCCLUDE x USING m WITH patch(1, 2, 3, 4)", 1, 30, ["4 numbers stand here", "at most 3 axes"]),
    ("OCCLUDE x USING m WITHIN box(1, 2, 3)", 1, 26, ["a start for each axis and an extent for each", "3 numbers"]),
    ("OCCLUDE x USING m BUDGET 1e999 SECONDS", 1, 26, ["1e999 is out of range"]),
    ("SET a = " + "9" * 5000, 1, 9, ["out of range"]),
    ("OCCLUDE 'a.png' INTO 'heat", 1, 22, ["no closing quote"]),
    ("OCCLUDE 'a.png", 1, 9, ["no closing quote"]),
    ("OCCLUDE 'it''s", 1, 9, ["no closing quote"]),
    ("OCCLUDE 'a.png USING m;\nOCCLUDE 'b.png' USING m", 1, 9, ["closing quote missing"]),
    ("OCCLUDE cat.png USING m", 1, 9, ["did you mean 'cat.png'?"]),
    ("OCCLUDE images/*.png USING m", 1, 9, ["did you mean 'images/*.png'?"]),
    ("OCCLUDE x USING resnet-18", 1, 17, ["did you mean 'resnet-18'?"]),
    ('OCCLUDE "cat.png" USING m', 1, 9, ["single quotes", "did you mean 'cat.png'?"]),
    ("OCCLUDE x USING m FOR CLASS tabby", 1, 29, ["expected a parameter ($name or ?), a number, a quoted", "'tabby'?"]),
    ("OCCLUDE x USING m INTO out/a-1.png", 1, 24, ["did you mean 'out/a-1.png'?"]),
    ("OCCLUDE x USING m (a = 1, b = 2, a = 3)", 1, 34, ["the option a is there already"]),
    ("OCCLUDE x USING m (a = ((1)))", 1, 25, ["did not expect ("]),
    ("OCCLUDE x USING m\n\t\tFILL white", 2, 3, ["FILL stands once, right behind a patch", "\n    FILL white\n    ^"]),
    ("OCCLUDE $ USING m", 1, 9, ["did not expect $", "a parameter ($name or ?)"]),
    ("SET a = b c", 1, 11, ["did not expect c", "expected ';', the end of the query"]),
    ("RESET threads, kernels", 1, 14, ["did not expect ,"]),
    ("OCCLUDE x FILL mean USING m", 1, 11, ["FILL stands once"]),
    ("OCCLUDE x WITH patch(2, 2) STRIDE 4 CHANNELS (1) USING m", 1, 37, ["CHANNELS stands once, behind a patch"]),
    ("OCCLUDE x WITH patch(2, 2) CHANNELS (1) FILL mean USING m", 1, 41, ["FILL stands once"]),
    ("OCCLUDE x USING m WITH patch(2, 2) STRIDE 4 FILL mean", 1, 45, ["FILL stands once"]),
    ("OCCLUDE x USING m WITH patch(2, 2) FILL FILL mean", 1, 41, ["did not expect FILL", "black, gray"]),
    ("SET a/b = 1", 1, 5, ["a/b is not the name of a setting"]),
    ("SHOW RULES\r\n; \u2028\x00", 3, 1, ["did not expect \\x00"]),
    ("SHOW RULES 😀", 1, 12, ["did not expect 😀"]),
]


@pytest.mark.parametrize(("text", "line", "column", "parts"), ERRORS, ids=[repr(case[0][:40]) for case in ERRORS])
def test_an_error_says_where_and_what(text: str, line: int, column: int, parts: list[str]) -> None:
    with pytest.raises(ParseError) as caught:
        parse(text)
    message = str(caught.value)
    assert (caught.value.line, caught.value.column) == (line, column)
    source = text.splitlines()[line - 1]
    before = " " * len(printable(source[: column - 1]))
    before += " " * sum(unicodedata.east_asian_width(each) == "W" for each in source[: column - 1])
    shown = printable(source) if len(source) < 50 + column else printable(source)[: column + 49] + "..."
    assert f"(line {line}, column {column})\n  {shown}\n  {before}^" in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(("text", "column"), [("", 1), (" ; ", 3), ("SHOW RULES; SHOW MODELS", 13)])
def test_parse_one_wants_exactly_one_statement(text: str, column: int) -> None:
    with pytest.raises(ParseError, match="statement") as caught:
        parse_one(text)
    assert caught.value.column == column


STARTS = ("OCCLUDE", "EXPLAIN", "VERIFY", "TUNE", "DROP", "CREATE", "DESCRIBE", "SET", "RESET", "SHOW", "CALIBRATE")


def with_a_letter_missing(word: str, data: st.DataObject) -> ParseError:
    where = data.draw(st.integers(1, len(word) - 2))
    with pytest.raises(ParseError) as caught:
        parse(f"{word[:where]}{word[where + 1 :]} x")
    return caught.value


@given(st.sampled_from([word for word in keywords() if len(word) > 4]), st.data())
def test_a_keyword_with_a_letter_missing_is_recognised(word: str, data: st.DataObject) -> None:
    """Where a keyword must stand, whichever it is, the message names those that may stand there."""
    assert set(STARTS) <= set(with_a_letter_missing(word, data).expected)


@given(st.sampled_from(STARTS), st.data())
def test_a_keyword_that_may_stand_there_is_proposed(word: str, data: st.DataObject) -> None:
    assert with_a_letter_missing(word, data).suggestion == word


# ---- no text whatever raises anything else

SEEDS = [*EXAMPLES, *(case[0] for case in ERRORS if len(case[0]) < 100)]
SCRAPS = [*"'\";()[]$?=./,-_\\{%\t\n\r\x00\u2028\ud800\u017f٣😀", "''", "--", "1e", "((((", "9" * 400, "x" * 200]
SCRAPS += keywords()


def outcome(text: str) -> None:
    try:
        script = parse(text)
    except ParseError as error:
        assert 1 <= error.line <= max(1, len(text.splitlines()))
        assert error.column >= 1
        assert not {word for word in error.expected if word.isupper()} - set(keywords())  # no lark terminal's name
    else:
        assert parse("; ".join(map(str, script))) == script


def test_mutated_queries_parse_or_raise_parse_error() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        text = rng.choice(SEEDS)
        for _ in range(rng.randint(1, 4)):
            start = rng.randrange(len(text) + 1)
            end = min(len(text), start + rng.choice([0, 0, 1, 1, 5]))
            text = text[:start] + rng.choice([rng.choice(SCRAPS), f" {rng.choice(SCRAPS)} ", ""]) + text[end:]
        outcome(text)


@settings(max_examples=100)
@given(st.text(max_size=30) | st.lists(st.sampled_from(SCRAPS), max_size=12).map(" ".join))
def test_any_text_parses_or_raises_parse_error(text: str) -> None:
    outcome(text)


@pytest.mark.parametrize(
    "text",
    [
        "OCCLUDE x USING m (a = " + "(" * 100_000,
        "OCCLUDE x USING m (a = " + "[1," * 100_000,
        "OCCLUDE x USING m (a = (" + "1," * 5_000 + "))",
        "EXPLAIN " * 10_000,
        "SHOW RULES;" * 2_000,
        "OCCLUDE " + "x" * 1_000_000,
        "OCCLUDE " + "'" * 1_000_001,
        "9" * 1_000_000 + "x",
        "OCCLUDE x USING '" + "''" * 100_000,
        "-- " + "x" * 1_000_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_very_long_and_very_deep_text(text: str) -> None:
    outcome(text)


def test_only_keywords_are_suggested_for_words() -> None:
    with pytest.raises(ParseError) as caught:
        parse("OCCLUDE x USING m STRIDE number")
    assert "a number" in caught.value.expected
    assert caught.value.suggestion is None


def test_quote_doubles_the_quotes() -> None:
    assert quote("it's") == "'it''s'"
