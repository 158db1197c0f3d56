"""A directive whose Python is run while the documentation is built; what it prints and draws stands below it.

The blocks of a page run one after the other with the same names, in the root of the repository. An error in one fails
the build, so that a tutorial cannot go stale.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive, directives

FOLDER = "_executed"
ROOT = Path(__file__).parent.parent
_names: dict[str, dict[str, Any]] = {}


class Executed(Directive):
    """Runs its content; ``:figure:`` is an expression for a figure of matplotlib, ``:alt:`` says what it shows."""

    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"figure": directives.unchanged, "alt": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """The code, what it prints, and the figure."""
        page = self.state.document.settings.env.docname
        code, names = "\n".join(self.content), _names.setdefault(page, {})
        block = nodes.literal_block(code, code, language="python")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.chdir(ROOT):
            exec(compile(code, f"{page}, executed", "exec"), names)
        out: list[nodes.Node] = [block]
        if text := printed.getvalue().rstrip():
            out.append(nodes.literal_block(text, text, language="none"))
        if "figure" in self.options:
            out.append(self._picture(page, names))
        return out

    def _picture(self, page: str, names: dict[str, Any]) -> nodes.Node:
        folder = Path(__file__).parent / FOLDER
        folder.mkdir(exist_ok=True)
        path = folder / f"{page.replace(os.sep, '_')}_{self.lineno}.png"
        eval(self.options["figure"], names).savefig(path, dpi=110)
        return nodes.image(uri=f"/{FOLDER}/{path.name}", alt=self.options.get("alt", ""))


def setup(app: Any) -> dict[str, Any]:
    """Tell Sphinx of the directive."""
    app.add_directive("executed", Executed)
    app.connect("env-purge-doc", lambda app, env, page: _names.pop(page, None))  # noqa: ARG005
    return {"parallel_read_safe": False}
