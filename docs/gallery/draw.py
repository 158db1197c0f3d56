"""The pictures of the gallery, from run folders: ``python docs/gallery/draw.py gd1=runs/version_0 mock=runs/mock``.

Each is made small, in 256 colours, so that the repository stays light; the figures themselves are drawn by
``stream-mapper report RUN --figures``.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from stream_mapper import load

MOST = 100_000  # bytes of a picture
SHOWN = {
    "gd1": ("overview", "track_residuals", "colour_magnitude_slices", "density_map", "windows_and_guides"),
    "mock": ("density_and_weight", "widths", "residuals"),
    "survey": ("colour_magnitude_slices", "residuals", "membership"),
    "pal5": ("overview", "density_map"),
    "indus": ("windows_and_guides", "track_residuals"),
}


def small(figure: Figure) -> bytes:
    """A figure as a PNG that is no larger than it may be.

    Its colours are spread over all that it has, however few points have them, so that colour bars stay even.
    """
    method, dither = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
    for dpi in (100, 90, 80, 70):
        raw, out = io.BytesIO(), io.BytesIO()
        figure.savefig(raw, dpi=dpi)
        Image.open(raw).convert("RGB").quantize(256, method, kmeans=1, dither=dither).save(out, "PNG", optimize=True)
        if out.tell() <= MOST:
            break
    return out.getvalue()


def draw(experiment: str, run: str) -> None:
    """The pictures of an experiment, beside this file."""
    figures = load(run).figures
    for name in SHOWN[experiment]:
        target = Path(__file__).with_name(f"{experiment}_{name}.png")
        target.write_bytes(small(getattr(figures, name)()))
        print(target.name, target.stat().st_size)


if __name__ == "__main__":
    for given in sys.argv[1:]:
        draw(*given.split("=", maxsplit=1))
