"""A directive whose Python is run while the documentation is built; what it prints and draws stands below it.

The blocks of a page run one after the other with the same names, in the root of the repository. An error in one fails
the build, so that a tutorial cannot go stale. The page is then a notebook, too: ``_executed/<page>.ipynb``.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from to_notebook import Ran, notebook

FOLDER = "_executed"
ROOT = Path(__file__).parent.parent
HERE = Path(__file__).parent
_names: dict[str, dict[str, Any]] = {}
_ran: dict[str, list[Ran]] = {}


class Executed(Directive):
    """Runs its content; ``:figure:`` is an expression for a figure of matplotlib, ``:alt:`` says what it shows.

    ``:unseen:`` is what a notebook needs, and a reader of the page does not.
    """

    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {
        "figure": directives.unchanged,
        "alt": directives.unchanged,
        "unseen": directives.flag,
    }

    def run(self) -> list[nodes.Node]:
        """The code, what it prints, and the figure."""
        page = self.state.document.settings.env.docname
        code, names = "\n".join(self.content), _names.setdefault(page, {})
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.chdir(ROOT):
            exec(compile(code, f"{page}, executed", "exec"), names)
        figure = self.options.get("figure", "")
        ran = Ran(code, printed.getvalue(), figure, self._drawn(page, figure, names) if figure else None)
        _ran.setdefault(page, []).append(ran)
        return [] if "unseen" in self.options else self._shown(ran)

    def _shown(self, ran: Ran) -> list[nodes.Node]:
        out: list[nodes.Node] = [nodes.literal_block(ran.code, ran.code, language="python")]
        if text := ran.printed.rstrip():
            out.append(nodes.literal_block(text, text, language="none"))
        if ran.picture is not None:
            out.append(nodes.image(uri=f"/{FOLDER}/{ran.picture.name}", alt=self.options.get("alt", "")))
        return out

    def _drawn(self, page: str, figure: str, names: dict[str, Any]) -> Path:
        path = _folder() / f"{page.replace(os.sep, '_')}_{self.lineno}.png"
        eval(figure, names).savefig(path, dpi=110)
        return path


def _folder() -> Path:
    (HERE / FOLDER).mkdir(exist_ok=True)
    return HERE / FOLDER


def forget(_app: Any, _env: Any, page: str) -> None:
    """A page is read anew."""
    _names.pop(page, None)
    _ran.pop(page, None)


def write_notebook(app: Any, _doctree: nodes.document) -> None:
    """The notebook of a page that was read, before Sphinx looks whether what it offers is there."""
    page = app.env.docname
    if page in _ran:
        source = Path(app.env.doc2path(page)).read_text(encoding="utf-8")
        (_folder() / f"{page.replace(os.sep, '_')}.ipynb").write_text(notebook(source, _ran[page]), encoding="utf-8")


def setup(app: Any) -> dict[str, Any]:
    """Tell Sphinx of the directive."""
    app.add_directive("executed", Executed)
    app.connect("env-purge-doc", forget)
    app.connect("doctree-read", write_notebook, priority=100)
    return {"parallel_read_safe": False}
