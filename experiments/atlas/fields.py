"""A simulated field of a stream of galstreams, as its query would fetch it, and what `init` writes of its stars."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from stream_mapper.catalog import to_table, write_table
from stream_mapper.init import init
from stream_mapper.mock import TrackMock

STARS = "stars.parquet"
_POLE = 89.0  # deg: the highest phi2 of a simulated field


@dataclass(frozen=True)
class Field:
    """A field.

    Arguments:
        track: Full name of the track.
        n_stream: Stars of the stream.
        n_background: All others.
        survey: Survey of the photometry.
        seed: Seed of the stars.
        tracks: Folder of galstreams' files; None for that of the installed package.
    """

    track: str
    n_stream: int
    n_background: int
    survey: str
    seed: int
    tracks: str | None = None

    def begin(self, folder: Path) -> tuple[TrackMock, Path]:
        """Write a query by ``init``, simulate the stars that it asks for, and write a configuration of their fit.

        Returns:
            The field, and the configuration.
        """
        shutil.rmtree(folder, ignore_errors=True)
        query, fit = folder / "query", folder / "fit"
        init(self.track, survey=self.survey, output=str(query), tracks=self.tracks)
        mock = self.of_query(yaml.safe_load((query / "query.yaml").read_text()))
        write_table(to_table(mock.simulate()), folder / STARS)
        init(self.track, str(folder / STARS), self.survey, "synthetic", output=str(fit), tracks=self.tracks)
        return mock, fit / "config.yaml"

    def of_query(self, query: dict[str, list[float]]) -> TrackMock:
        """The stars in the window of a query."""
        (first, last), (low, high) = query["phi1"], query["phi2"]
        return TrackMock(
            self.track,
            self.n_stream,
            self.n_background,
            survey=self.survey,
            seed=self.seed,
            phi1=(first, last),
            phi2=(max(low, -_POLE), min(high, _POLE)),
            tracks=self.tracks,
        )
