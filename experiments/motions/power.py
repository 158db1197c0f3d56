"""How few stars of a stream whose motion nobody knows does `init` find, and how often does it find one where none is?

    python experiments/motions/power.py --folder runs/motions [--fields 30] [--nulls 14] [--tracks FOLDER]

Fields are simulated around tracks of galstreams, drawn with a seed, of which no motion is known. Without their stream,
and with their other stars on and beside the track at random, they have no peak; with some of its stars, they have one.
"""

from __future__ import annotations

import argparse
import logging
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from stream_mapper.builtin import Isochrone
from stream_mapper.catalog import known_stream, to_table
from stream_mapper.catalog.sky.library import Library
from stream_mapper.decisions import decide, peak
from stream_mapper.decisions.light import SURVEY_LIMITS
from stream_mapper.mock import TrackMock

Values = NDArray[np.float64]
Chosen = NDArray[np.bool_]

SURVEYS = {"panstarrs1": ("g", "r"), "des": ("g", "i"), "gaia_dr3": SURVEY_LIMITS["gaia_dr3"].bands}
_MEMBERS = (60, 500)
_OTHERS = 30_000
_FEWEST = 100  # stars beside a track
NUMBERS = (10, 15, 20, 27, 40)
"""Stars of a stream with a motion, on its track and near its isochrone."""


class Field(NamedTuple):
    """What `init` looks for a motion in, and which stars are of the stream."""

    name: str
    along: Values
    motions: Values
    errors: Values
    on: Chosen
    beside: Chosen
    member: Chosen


def fields(number: int, tracks: str | None, seed: int = 5) -> Iterator[Field]:
    """Fields of tracks without a motion, drawn with the seed, each with a survey and a number of members."""
    rng, made = np.random.default_rng(seed), 0
    for name in rng.permutation([entry.name for entry in Library(tracks).entries]).tolist():
        if made < number and "motion" not in known_stream(name, tracks=tracks).sources:
            survey = list(SURVEYS)[rng.integers(3)]
            members = round(float(np.exp(rng.uniform(*np.log(_MEMBERS)))))
            if (field := _field(name, survey, members, made, tracks)) is not None:
                made += 1
                yield field


def _field(name: str, survey: str, members: int, seed: int, tracks: str | None) -> Field | None:
    """One of them, None if there is nothing to look in."""
    given: list[Any] = []
    mock = TrackMock(name, members, _OTHERS, survey=survey, seed=seed, tracks=tracks)
    stars = to_table(mock.simulate())
    with patch.object(peak, "motion_peak", lambda *args: given.append(args)):
        decide(name, stars, survey=survey, isochrone=Isochrone.synthetic(SURVEYS[survey]), tracks=tracks)
    if not given:
        return None
    along, motions, on, beside, errors = given[-1]
    known = np.isfinite(motions).all(-1) & np.isfinite(errors).all(-1)
    field = Field(
        name, along, motions, errors, on & known, beside & known, np.asarray(stars["true_component"] == "stream")
    )
    return field if (field.beside & ~field.member).sum() > _FEWEST else None


def mixed(field: Field, rng: np.random.Generator, members: int = 0) -> tuple[Chosen, Chosen] | None:
    """Stars on and beside the track, the others at random, with some members on it; None if there are not as many."""
    others = np.flatnonzero((field.on | field.beside) & ~field.member)
    of_stream = np.flatnonzero(field.on & field.member)
    if len(of_stream) < members:
        return None
    on, beside = np.zeros((2, len(field.on)), dtype=bool)
    beside[others] = True
    chosen = rng.choice(others, int((field.on & ~field.member).sum()), replace=False)
    on[chosen], beside[chosen] = True, False
    on[rng.choice(of_stream, members, replace=False)] = True
    return on, beside


def highest(field: Field, on: Chosen, beside: Chosen) -> tuple[float, float]:
    """The highest peak by counts alone, and by the errors of the stars."""
    with patch.multiple(peak, LEAST_SIGNIFICANCE=-1.0, LEAST_RATIO=-1.0):
        found = [peak.motion_peak(field.along, field.motions, on, beside, errors) for errors in (None, field.errors)]
    counts, ratio = (0.0 if one is None else one.significance for one in found)
    return counts, ratio


def main(args: Sequence[str] | None = None) -> None:
    """Measure, and print thresholds and shares."""
    parser = argparse.ArgumentParser(description="How few stars of a stream a scan for its motion finds.")
    parser.add_argument("--folder", type=Path, default=Path("runs/motions"))
    parser.add_argument("--fields", type=int, default=30)
    parser.add_argument("--nulls", type=int, default=14, help="Nulls of each field.")
    parser.add_argument("--tracks", help="Folder of galstreams' files; by default that of the installed package.")
    options = parser.parse_args(args)
    logging.disable(logging.WARNING)
    options.folder.mkdir(parents=True, exist_ok=True)
    kept = options.folder / "fields.pickle"
    if not kept.exists():
        kept.write_bytes(pickle.dumps(list(fields(options.fields, options.tracks))))
    made = [Field(*one) for one in pickle.loads(kept.read_bytes())]
    nulls = []
    for field in made:
        nulls.append(highest(field, field.on & ~field.member, field.beside & ~field.member))
        for seed in range(options.nulls):
            nulls.append(highest(field, *mixed(field, np.random.default_rng(seed))))
    limits = np.quantile(nulls, 0.99, axis=0)
    print(f"{len(nulls)} nulls; largest by counts, by errors: {np.max(nulls, axis=0).round(2)}")
    print(f"one in a hundred of them is above {limits.round(2)}")
    for number in NUMBERS:
        drawn = [(field, mixed(field, np.random.default_rng(100 + i), number)) for field in made for i in range(2)]
        found = [highest(field, *stars) for field, stars in drawn if stars is not None]
        shares, usual = ((np.array(found) > limit).mean(0).round(2) for limit in (limits, peak.LEAST_RATIO))
        print(f"{number} stars: found {shares} of {len(found)} fields, above {peak.LEAST_RATIO:g} {usual}")


if __name__ == "__main__":
    main()
