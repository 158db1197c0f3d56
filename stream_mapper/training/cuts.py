"""A selection beside the model: what it removes, and whether the densities know of it."""

from __future__ import annotations

import logging
import math

from torch import Tensor

from stream_mapper.data import Data
from stream_mapper.models.base import Model, windows_of
from stream_mapper.selection import ClusterMask, Selection
from stream_mapper.selection.base import Counts
from stream_mapper.windows import is_within

_log = logging.getLogger("stream_mapper")
_ALL = (-math.inf, math.inf)


def counts_of_cuts(selection: Selection, stars: Data, inside: Tensor) -> Counts:
    """How many stars each cut removes, and, below the cuts, the model's window.

    Arguments:
        selection: The cuts.
        stars: N stars.
        inside: Whether each is inside the model's window, (N,).
    """
    counts = selection.counts(stars)
    chosen = selection(stars)
    last = {
        "cut": "the window of the model",
        "alone": int((~inside).sum()),
        "removed": int((chosen & ~inside).sum()),
        "left": int((chosen & inside).sum()),
        "unknown": 0,
    }
    return {name: [*values, last[name]] for name, values in counts.items()}


def log_cuts(counts: Counts) -> None:
    """Log the table of cuts."""
    names = ("alone", "removed", "left", "unknown")
    rows = zip(counts["cut"], *(counts[name] for name in names), strict=True)
    lines = [f"{alone:>9} {removed:>9} {left:>9} {unknown:>9}  {cut}" for cut, alone, removed, left, unknown in rows]
    header = " ".join(f"{name:>9}" for name in names)
    _log.info(
        "stars that each cut removes alone and after those above it, leaves, and cannot judge:\n%s",
        "\n".join([header, *lines]),
    )


def warn_unlike_window(selection: Selection, model: Model) -> None:
    """Warn of cuts on coordinates of the model over which its densities are not normalised."""
    windows, modelled = windows_of(model), set(model.coord_names)
    interval = selection.window()
    for name, bounds in interval.items():
        if name in modelled and not is_within(windows.get(name, _ALL), bounds):
            _log.warning(
                "data.selection cuts %s at %s, but the model's densities are normalised over %s: give that cut as a "
                "window of the model too (coord_bounds or phot_bounds of every part over %s), or drop it.",
                *(name, bounds, windows.get(name, "all its values"), name),
            )
    turned = {"pmra", "pmdec"} & set(interval)
    if turned and {"pm_phi1", "pm_phi2"} & modelled and not any(getattr(p, "box", None) for p in model.parts()):
        _log.warning(
            "data.selection cuts %s, but no part over pm_phi1 and pm_phi2 is normalised over that: give those parts a "
            "RotatedBox of these edges.",
            sorted(turned),
        )
    for cut in selection.parts():
        beyond = sorted(modelled & set(cut.columns) - set(interval))
        if beyond and not cut.window() and not isinstance(cut, ClusterMask):
            _log.warning(
                "data.selection has %r, a cut on %s, which the model is over: no window of the model can hold it, and "
                "the densities are not normalised over it. Memberships near its edges and the track are biased by it; "
                "prefer to let the model judge these coordinates.",
                *(cut, beyond),
            )
