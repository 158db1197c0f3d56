"""The figures of a fit, one call each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

from matplotlib import rc_context
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from stream_mapper.catalog import read_track, replace_file
from stream_mapper.errors import InputError
from stream_mapper.paper.counts import density_and_weight, widths
from stream_mapper.paper.cuts import windows_and_guides
from stream_mapper.paper.overview import overview
from stream_mapper.paper.sky import density_map
from stream_mapper.paper.slices import colour_magnitude_slices
from stream_mapper.paper.style import RC
from stream_mapper.paper.subject import Subject, subject_of
from stream_mapper.paper.tracks import track_residuals
from stream_mapper.progress import progress
from stream_mapper.results.projections import projections
from stream_mapper.results.residual_figures import memberships, residual_maps
from stream_mapper.results.run_folder import RunTables
from stream_mapper.selection import Selection
from stream_mapper.track import Track

FORMATS = ("png", "pdf")
"""What figures are written as, unless others are asked for."""
_DPI = 200


class Figures:
    """Figures of a fit, of matplotlib: each by its name, or by a call all that the fit has something for.

    They are as wide as a column of a journal or two, and in colours that are told apart by everybody; see
    :doc:`/figures`.

    Arguments:
        tables: Makes the tables of the run; it is asked once.
        off_stream: Which stars have trained the background, if that is known.
    """

    def __init__(self, tables: Callable[[], RunTables], off_stream: Selection | None = None) -> None:
        self._make, self._off_stream = tables, off_stream

    @cached_property
    def tables(self) -> RunTables:
        """The tables that they are of."""
        return self._make()

    @cached_property
    def subject(self) -> Subject:
        """The stars and streams that they are of."""
        return subject_of(self.tables, self._off_stream)

    def __call__(self) -> dict[str, Figure]:
        """Every figure that the columns allow, by name."""
        return self.tables.figures() | dict(self._ours())

    def _ours(self) -> Iterator[tuple[str, Figure]]:
        """The figures of this class that the fit has something for."""
        subject = self.subject
        yield "overview", self.overview()
        if subject.coordinates:
            yield "track_residuals", self.track_residuals()
            yield "widths", self.widths()
        yield "density_and_weight", self.density_and_weight()
        if "phi2" in subject.stars:
            yield "density_map", self.density_map()
        if len(subject.bands) > 1 and any(one.has("distmod") for one in subject.components):
            yield "colour_magnitude_slices", self.colour_magnitude_slices()
        if subject.windows or subject.guides:
            yield "windows_and_guides", self.windows_and_guides()

    def overview(self) -> Figure:
        """Weight and every coordinate along the stream: of GD-1 and Pal 5 the figure of Starkman et al. 2025."""
        return overview(self.subject)

    def track_residuals(self, literature: Mapping[str, Track | str] | None = None) -> Figure:
        """The track with its guides and its stars, and what differs from it.

        Arguments:
            literature: Tracks of others by the name that the legend gives them, in the frame of the stream; or what
                :func:`stream_mapper.catalog.read_track` finds them by, such as ``GD-1.ibata2021`` of galstreams.
        """
        frame = self.tables.intake.reading.frame
        given = (literature or {}).items()
        return track_residuals(
            self.subject, {n: one if isinstance(one, Track) else read_track(one, frame) for n, one in given}
        )

    def density_and_weight(self) -> Figure:
        """Weight and linear density with the members counted in bins, gaps and peaks marked."""
        return density_and_weight(self.subject)

    def widths(self) -> Figure:
        """The widths along the stream with their bands."""
        return widths(self.subject)

    def density_map(self) -> Figure:
        """Smoothed maps of the sky, of all stars and of the members."""
        return density_map(self.subject)

    def colour_magnitude_slices(self, slices: int = 4) -> Figure:
        """Colour-magnitude diagrams along the stream with the isochrone at its distance, and Hess differences."""
        return colour_magnitude_slices(self.subject, slices)

    def windows_and_guides(self) -> Figure:
        """What was fitted, which stars have trained the background, and the guides."""
        return windows_and_guides(self.subject)

    def membership(self) -> Figure:
        """How many stars have which membership, and how many are above it, with the expected contamination."""
        return memberships(self.subject.p)

    def residuals(self) -> Figure:
        """Stars, what the fit draws, and the difference in units of its noise.

        Raises:
            InputError: If there are too few stars for a map.
        """
        if not (maps := list(projections(self.tables.model, self.tables.stars_shown()))):
            raise InputError("there are too few stars in the window for a map of residuals.")
        return residual_maps(maps)

    def write(self, folder: str | os.PathLike[str], formats: Sequence[str] = FORMATS) -> list[Path]:
        """Write every figure that the columns allow.

        Arguments:
            folder: The folder; it is made where it is missing.
            formats: Formats, by the endings that matplotlib knows.

        Returns:
            The files.

        Raises:
            InputError: If a format is not known.
        """
        known = FigureCanvasBase.get_supported_filetypes()
        if unknown := [name for name in formats if name not in known]:
            raise InputError(f"formats of figures: no {unknown}; there are {sorted(known)}.")
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        drawn = self()
        every = progress(drawn.items(), "figures", len(drawn))
        return [path for name, figure in every for path in _written(figure, target / name, formats)]


def _written(figure: Figure, stem: Path, formats: Sequence[str]) -> Iterator[Path]:
    """The files of a figure, each whole or not there."""
    for name in formats:
        path = stem.with_name(f"{stem.name}.{name}")
        with rc_context({"pdf.fonttype": RC["pdf.fonttype"]}):
            replace_file(path, partial(figure.savefig, dpi=_DPI, format=name))
        yield path
