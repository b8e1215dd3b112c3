"""``%kdb`` and ``%%kdb``: statements in the cells of a notebook, after ``%load_ext kdb``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdb.errors import Error, ParseError
from kdb.language import syntax
from kdb.language.parser import parse
from kdb.system.progress import ProgressBar

if TYPE_CHECKING:
    from kdb.session.session import Result, Session


def load_ipython_extension(shell: Any) -> None:
    """Give IPython the magics; ``%load_ext kdb`` calls this."""
    shell.register_magic_function(Magics(shell).kdb, "line_cell", "kdb")


class Magics:
    """The magics of one kernel, and their session, which is made when it is first needed."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._session: Session | None = None
        self._bar = ProgressBar("positions")

    @property
    def session(self) -> Session:
        """The session that all statements of the notebook are run in."""
        if self._session is None:
            from kdb.session.session import connect

            self._session = connect(progress=self._bar)
        return self._session

    def kdb(self, line: str, cell: str = "") -> Result | Session:
        """Run statements, and return the last one's result; without any, the session.

        ::

            %kdb OCCLUDE 'cat.png' USING efficientnet_lite0

            %%kdb
            SET threads = 2;
            OCCLUDE $image USING efficientnet_lite0

            db = %kdb

        ``$image`` is the notebook's variable ``image``.
        """
        text = f"{line}\n{cell}" if line.strip() else cell
        if not text.strip():
            return self.session
        try:
            return self.session.execute(text, self._values(text))
        except Error as error:
            # IPython shows what this returns in place of a traceback, which would be of kdb's own code.
            shown = f"{'syntax error' if isinstance(error, ParseError) else type(error).__name__}: {error}"
            error._render_traceback_ = lambda: shown.splitlines()  # type: ignore[attr-defined]
            raise
        finally:
            self._bar.close()

    # The shell would write variables' values into the text.
    kdb._ipython_magic_no_var_expand = True  # type: ignore[attr-defined]

    def _values(self, text: str) -> dict[str, Any]:
        """The notebook's variables that a script names as parameters."""
        try:
            script = parse(text)
        except ParseError:  # which the session will raise, knowing more
            return {}
        names = {each.name for each in syntax.parameters(script) if each.name is not None}
        variables = self._shell.user_ns
        return {name: variables[name] for name in names if name in variables}
