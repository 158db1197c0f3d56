"""The best members, as a short table for a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table

from stream_mapper.catalog import escaped, write_deluxetable
from stream_mapper.data import Data
from stream_mapper.quantiles import QUANTILE_NAMES

_FIRST = (
    *("ra", "dec", "phi1", "phi2", "pmra", "pmdec", "pm_phi1", "pm_phi2", "parallax", "distmod", "distance"),
    *("radial_velocity", "feh"),
)
_P = ("p_member", *(f"p_member_{q}" for q in QUANTILE_NAMES))
_RANGE = ("p_member", "p_member_05", "p_member_95")
_LABELS = {
    "ra": r"$\alpha$",
    "dec": r"$\delta$",
    "phi1": r"$\phi_1$",
    "phi2": r"$\phi_2$",
    "pmra": r"$\mu_{\alpha*}$",
    "pmdec": r"$\mu_\delta$",
    "pm_phi1": r"$\mu_{\phi_1*}$",
    "pm_phi2": r"$\mu_{\phi_2}$",
    "parallax": r"$\varpi$",
    "distmod": "$m - M$",
    "distance": "$d$",
    "radial_velocity": r"$v_\mathrm{r}$",
    "feh": "[Fe/H]",
}
_DIGITS = {"ra": 5, "dec": 5, "phi1": 4, "phi2": 4, "radial_velocity": 1, "feh": 2}


def best_members(
    table: Table,
    stars: Data,
    internal: Mapping[str, str],
    count: int,
    of_id: str | None = None,
    bands: Sequence[str] = (),
) -> Table:
    """The stars of the highest membership, the highest first.

    Arguments:
        table: The membership table.
        stars: The same stars as the model read them.
        internal: Internal names of columns of the table, see `internal_names`.
        count: Number of members; stars of no membership are not among them.
        of_id: The column that tells stars apart.
        bands: Names of the magnitudes.

    Returns:
        The identifier, positions, motions, what spectra tell, magnitudes and ``p_member`` with its quantiles, NaN
        where not measured.
    """
    p = np.asarray(table["p_member"])
    rows = np.argsort(-p, kind="stable")[:count]
    rows = rows[p[rows] > 0]
    out = Table({of_id: table[of_id][rows]} if of_id else {}, copy=True)
    spelt = {name: column for column, name in internal.items()}
    for name in dict.fromkeys((*_FIRST, *bands)):
        if name in stars:
            out[name] = np.where(stars.where[name].cpu(), stars[name].cpu(), np.nan)[rows].astype(np.float64)
        elif name in spelt and table[spelt[name]].dtype.kind == "f":
            out[name] = table[spelt[name]][rows]
    for name in _P:
        out[name] = np.asarray(table[name])[rows]
    return out


def write_latex(members: Table, path: Path, caption: str) -> None:
    """Write the table as a ``deluxetable`` of AASTeX: numbers rounded, the membership with its 5-95 % range.

    Arguments:
        members: What `best_members` gave, with units.
        path: The file.
        caption: Its caption, in LaTeX.
    """
    out = Table()
    for name in (n for n in members.colnames if n not in _P):
        label = _LABELS.get(name, escaped(name))
        out[label] = [_cell(value, name) for value in members[name]]
        out[label].unit = members[name].unit
    out[r"$p_\mathrm{member}$"] = [_probability(*row) for row in zip(*(members[name] for name in _RANGE), strict=True)]
    write_deluxetable(out, path, caption)


def _cell(value: object, name: str) -> str:
    """A value of a row; three dots where there is none."""
    if np.ma.is_masked(value):
        return r"\nodata"
    if isinstance(value, float | np.floating):
        return f"${value:.{_DIGITS.get(name, 3)}f}$" if np.isfinite(value) else r"\nodata"
    return escaped(str(value))


def _probability(p: float, low: float, high: float) -> str:
    """The membership, with the range of its quantiles where there are draws."""
    if not np.isfinite(low):
        return f"${p:.3f}$"
    return f"${p:.3f}\\;[{low:.3f}, {high:.3f}]$"
