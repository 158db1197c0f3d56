"""A page whose blocks were run, as a notebook of Jupyter with what they printed and drew.

Nothing is run here: `executed` says what became of each block. The text between the blocks is that of the page, with
the roles of Sphinx turned into links.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGES = "https://github.com/GalacticDynamics/stream_mapper/blob/main/docs"
_BLOCK = re.compile(r"^```\{executed\}\n.*?^```\n", flags=re.DOTALL | re.MULTILINE)
_LABEL = re.compile(r"^\([\w-]+\)=\n", flags=re.MULTILINE)
_ROLE = re.compile(r"\{(\w+)\}`(?:([^`<]+) <([^`>]+)>|([^`]+))`")


@dataclass(frozen=True)
class Ran:
    """A block that was run.

    Arguments:
        code: Its lines.
        printed: What it printed.
        figure: The expression of its figure, '' without one.
        picture: The figure as PNG.
    """

    code: str
    printed: str = ""
    figure: str = ""
    picture: Path | None = None


def notebook(page: str, blocks: list[Ran]) -> str:
    """The notebook of a page, as JSON of Jupyter's format 4.5.

    Arguments:
        page: The source of the page.
        blocks: What became of its blocks, in their order.
    """
    cells: list[dict[str, Any]] = []
    texts = _BLOCK.split(page)
    for number, (text, ran) in enumerate(zip(texts, [*blocks, None], strict=True)):
        if plain := _plain(text):
            cells.append({"cell_type": "markdown", "id": f"text-{number}", "metadata": {}, "source": plain})
        if ran is not None:
            cells.append(_code(ran, number))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"


def _code(ran: Ran, number: int) -> dict[str, Any]:
    """A cell of code; its figure is the value of its last line."""
    outputs: list[dict[str, Any]] = []
    if ran.printed:
        outputs.append({"output_type": "stream", "name": "stdout", "text": ran.printed})
    if ran.picture is not None:
        data = {"image/png": base64.b64encode(ran.picture.read_bytes()).decode(), "text/plain": "<Figure>"}
        result = {"output_type": "execute_result", "execution_count": number + 1, "data": data, "metadata": {}}
        outputs.append(result)
    cell = {"cell_type": "code", "id": f"code-{number}", "metadata": {}, "execution_count": number + 1}
    begin = "" if number else "%matplotlib inline"  # without it a figure is shown by its name
    return cell | {"outputs": outputs, "source": "\n".join(filter(None, (begin, ran.code, ran.figure)))}


def _plain(text: str) -> str:
    """Text of a page as a notebook shows it."""
    return _ROLE.sub(_link, _LABEL.sub("", text)).strip()


def _link(found: re.Match[str]) -> str:
    """A link for a page, the words for anything else."""
    role, words, target, alone = found.groups()
    if role == "doc":
        return f"[{words or alone}]({PAGES}/{target or alone}.md)"
    return words or f"`{alone}`"
