"""Which magnitudes a colour-magnitude diagram is of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Diagram(NamedTuple):
    """The magnitudes of a colour-magnitude diagram.

    Arguments:
        blue: The colour's first.
        red: Its second.
        magnitude: The one it is drawn against.
    """

    blue: str
    red: str
    magnitude: str

    @property
    def colour(self) -> str:
        """The colour, as an axis has it."""
        return f"{self.blue} - {self.red}"

    def of_curve(self, bands: Sequence[str], curve: Array) -> tuple[Array, Array]:
        """Colour and magnitude along a curve.

        Arguments:
            bands: The F magnitudes of the curve.
            curve: Their values, (M, F).
        """
        blue, red, magnitude = (curve[:, list(bands).index(name)] for name in self)
        return blue - red, magnitude


def diagram(bands: Sequence[str]) -> Diagram:
    """BP - RP against G where there are these; else the bluest less the reddest against the bluest.

        >>> diagram(["g", "r", "i"])
        Diagram(blue='g', red='i', magnitude='g')
        >>> diagram(["G", "BP", "RP"])
        Diagram(blue='BP', red='RP', magnitude='G')

    Arguments:
        bands: Two magnitudes or more, blue to red, as far as Gaia's are not among them.
    """
    blue, red = (next((name for name in bands if key in name.lower()), None) for key in ("bp", "rp"))
    if blue is None or red is None:
        return Diagram(bands[0], bands[-1], bands[0])
    others = [name for name in bands if name not in (blue, red)]
    return Diagram(blue, red, next((name for name in others if "g" in name.lower()), blue))
