"""Stars of a field from the Gaia archive: ``python -m stream_mapper.query --config ...``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stream_mapper.archive import Patience
from stream_mapper.catalog import SkyFrame
from stream_mapper.commands import parse, run
from stream_mapper.errors import InputError, check_at_least
from stream_mapper.paths import FilePath

if TYPE_CHECKING:
    from stream_mapper.archive import Archive, Field, Request

_PATIENCE = Patience()


def query(
    frame: SkyFrame | str,
    phi1: tuple[float, float],
    phi2: tuple[float, float],
    output: FilePath,
    slice_width: float = 2.0,
    catalogue: Literal["gaiadr4.gaia_source", "gaiadr3.gaia_source", "gaiadr2.gaia_source"] = "gaiadr3.gaia_source",
    columns: list[str] | None = None,
    cuts: dict[str, tuple[float | None, float | None]] | None = None,
    where: str | None = None,
    crossmatch: Literal["none", "panstarrs1", "twomass", "des", "delve"] = "none",
    spectra: Literal["none", "desi"] = "none",
    row_limit: int = 3_000_000,
    work: FilePath | None = None,
    url: str | None = None,
    patience: Patience = _PATIENCE,
    dry_run: bool = False,
) -> str:
    """Fetch the stars of a field, given in the coordinates of a stream, from an archive that has Gaia's.

    Arguments:
        frame: The frame of the stream, or its name alone.
        phi1: Lowest and highest phi1 [deg].
        phi2: Lowest and highest phi2 [deg].
        output: The Parquet file to write.
        slice_width: The field is asked for in slices of this width in phi1 [deg].
        catalogue: The table of sources.
        columns: Columns of that table; positions, proper motions, parallaxes, their errors and correlations,
            magnitudes and what the parallax zero point needs, if left out.
        cuts: Column to its lowest and highest value, edges included, null for no limit; stars without a value are cut.
        where: A further condition in ADQL; the catalogue is called gaia, the table of matches xmatch, and the surveys
            ps1, tmass, des, delve and desi.
        crossmatch: Adds the photometry of the match in Pan-STARRS1 or 2MASS, or in DES or DELVE, where there is one;
            the latter two are asked of the Astro Data Lab.
        spectra: Adds the radial velocities and [Fe/H] of DESI's survey of the Milky Way, of the Astro Data Lab.
        row_limit: The most rows of a slice; one that reaches it is cut in two. The archive grants three million.
        work: Folder for slices that are done, where the same command goes on; beside the output if left out.
        url: Address of the TAP service; by default the Gaia archive, or the Data Lab for what is joined there.
        patience: Attempts and time limits.
        dry_run: Print the queries and do nothing.

    Returns:
        What to print: the queries, or where the stars are.

    Raises:
        InputError: If the field, the columns, the output or the archive's answer cannot be used.
        ConnectionError: If the archive could not be reached; the slices that are done are kept.
    """
    from stream_mapper.archive import Archive, Field, Request, WorkingFolder, merge  # noqa: PLC0415

    check_at_least("row_limit", row_limit)
    sky = SkyFrame(frame) if isinstance(frame, str) else frame
    field = Field(sky, phi1, phi2)
    slices = field.slices(slice_width)
    joined = {"crossmatch": crossmatch, "spectra": spectra}
    request = Request(catalogue, columns, cuts, where, **{k: None if v == "none" else v for k, v in joined.items()})
    if dry_run:
        return "\n\n".join(f"-- slice {asked}\n{request.adql(field.polygon(asked))};" for asked in slices)
    target = _target(output)
    archive = Archive(url or request.service.url, patience)
    folder = WorkingFolder(Path(work) if work else target.with_suffix(".slices"), field, request, row_limit)
    files = folder.fetch(slices, archive)
    stars = merge(files, field, target, _provenance(sky, field, request, archive, [file.entry for file in files]))
    return f"{stars} stars: {target}"


def _target(output: FilePath) -> Path:
    """The path of the output.

    Raises:
        InputError: If it is no Parquet file, or its folder does not exist.
    """
    from stream_mapper.catalog import check_target  # noqa: PLC0415

    if check_target(Path(output)) != "parquet":
        raise InputError(f"{output}: the stars are written as Parquet; end the name with .parquet.")
    return Path(output)


def _provenance(
    frame: SkyFrame, field: Field, request: Request, archive: Archive, entries: list[dict[str, Any]]
) -> dict[str, Any]:
    """Where the stars come from."""
    from stream_mapper import __version__  # noqa: PLC0415

    return {
        "archive": archive.url,
        "catalogue": request.catalogue,
        "date": max(entry["date"] for entry in entries),
        "software": f"stream_mapper {__version__}, {archive.software}",
        "frame": frame.frame,
        "frame_matrix": field.matrix.tolist(),
        "phi1": list(field.phi1),
        "phi2": list(field.phi2),
        "slices": [{name: entry[name] for name in ("slice", "rows", "date", "adql")} for entry in entries],
    }


def main(args: Sequence[str] | None = None) -> None:
    """Command-line entry: a clear line and exit status 2 for unusable input."""
    sys.stdout.write(run(lambda given: query(**parse(query, given)), args) + "\n")


if __name__ == "__main__":
    main()
