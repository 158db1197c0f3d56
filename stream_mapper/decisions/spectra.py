"""Radial velocities: whether a table has enough of them, and what a stream's may be."""

from __future__ import annotations

import numpy as np

from stream_mapper.catalog import KnownStream, TableFacts
from stream_mapper.decisions.choice import Choice, Range, digits
from stream_mapper.decisions.sky import from_track

VELOCITY = "radial_velocity"

_FEW = 200  # off-stream stars with which a flow over one coordinate is still learned
_LN_SIGMA = (0.0, 2.7)  # ln of km/s: 1 to 15 km/s, the coldest and the hottest stream
_ANY = (-450.0, 450.0)  # km/s: what a star of the Galaxy may have


def velocity(facts: TableFacts | None, stream: KnownStream, off: float) -> Choice[bool]:
    """Whether radial velocities are fitted, which a star may lack.

    Arguments:
        facts: The table, if there is one.
        stream: The stream.
        off: Distance from the track beyond which stars train the background [deg].
    """
    if facts is None:
        return Choice(False, "Gaia has them of bright stars alone: give a table with those of a survey of spectra.")
    if VELOCITY not in facts.values:
        return Choice(False, "The table has none.")
    there = np.isfinite(facts.values[VELOCITY])
    beside = int((there & (np.abs(from_track(stream, facts)) > off)).sum())
    if beside < _FEW:
        return Choice(False, f"The table has them of {beside} stars off the stream, too few for a flow (below {_FEW}).")
    guided = "the track guides them" if "velocity" in stream.sources else "no track knows that of the stream"
    return Choice(True, f"{int(there.sum())} stars of {facts.size} have one; {guided}.")


def survey(facts: TableFacts | None, velocity: bool) -> Choice[str | None]:
    """The survey by whose names radial velocities are read, None where every reader finds them."""
    if facts is None or not velocity or facts.spectra is None:
        return Choice(None, "There is no column that only a survey of spectra knows.")
    return Choice(facts.spectra, "It has most of the table's radial velocities.")


def guide(stream: KnownStream) -> list[float]:
    """Half-widths of the guides of the radial velocity [km/s], one a place; none where no track knows it."""
    return (
        [digits(width) for width in stream.track.half_width("radial_velocity")] if "velocity" in stream.sources else []
    )


def bounds(stream: KnownStream) -> dict[str, Range]:
    """Ranges of the radial velocity, where no track knows it, and of the ln of its dispersion, in km/s."""
    ranges = {f"{VELOCITY}.ln-sigma": _LN_SIGMA}
    return ranges if "velocity" in stream.sources else {f"{VELOCITY}.mu": _ANY, **ranges}
