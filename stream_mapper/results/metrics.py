"""Numbers of a run, and how they compare with the truth where the table carries it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray

from stream_mapper.data import Data
from stream_mapper.models.base import Model
from stream_mapper.models.mixture import BACKGROUND
from stream_mapper.quantiles import QUANTILE_NAMES

Array = NDArray[np.bool_]
THRESHOLDS = (0.5, 0.75, 0.9)
_LIKELY = 0.01  # membership below which a star does not count for the calibration
_CUT = 0.8  # membership at which completeness and purity are quoted


def membership_metrics(table: Table, components: Table | None = None) -> dict[str, float]:
    """Number of stars, inside the window, expected members, and members above each threshold.

    Arguments:
        table: The table with the memberships.
        components: The table of the components, whose last row has the quantiles of the number of members.
    """
    p = np.asarray(table["p_member"])
    counts = {f"above_{cut}": int((p > cut).sum()) for cut in THRESHOLDS}
    return {
        "stars": len(table),
        "in_window": int(np.sum(table["in_window"])),
        "expected_members": float(np.nansum(p)),
        **({} if components is None else _quantiles(components)),
        **counts,
    }


def _quantiles(components: Table) -> dict[str, float]:
    """Those of the number of all members, where there are any."""
    values = {f"expected_members_{q}": float(components[f"members_{q}"][-1]) for q in QUANTILE_NAMES}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def truth_metrics(table: Table, subsets: Mapping[str, Array] | None = None) -> dict[str, float]:
    """How memberships compare with true labels, beside the Bayes-optimal ones.

    Completeness, purity and false positives at p > 0.8, average precision, and the expected calibration error over
    stars with p > 0.01 (15 bins of equal width). The noise of the counts in the bins is in that error; the optimal
    membership's own error on the same stars says how much.

    Arguments:
        table: N stars with ``p_member``, ``true_component`` (without it there is nothing) and maybe ``true_p_member``.
        subsets: Rows (N,) of stars that are also looked at by themselves, by the prefix of their numbers.
    """
    if "true_component" not in table.colnames:
        return {}
    member = torch.from_numpy(np.asarray(table["true_component"]).astype(str) != BACKGROUND).long()
    scores = {"": "p_member"} | ({"optimal_": "true_p_member"} if "true_p_member" in table.colnames else {})
    metrics: dict[str, float] = {"true_members": int(member.sum())}
    placed = np.isfinite(np.asarray(table["p_member"]))
    for subset, rows in {"": placed, **{name: rows & placed for name, rows in (subsets or {}).items()}}.items():
        for kind, column in scores.items():
            metrics |= _classification(np.asarray(table[column])[rows], member[torch.tensor(rows)], subset + kind)
    return metrics


def _classification(p: Any, member: torch.Tensor, prefix: str) -> dict[str, float]:
    from torchmetrics.functional import classification as measure  # noqa: PLC0415 (with scipy.signal it takes a while)

    scores = torch.from_numpy(np.asarray(p, dtype=np.float64))
    likely = scores > _LIKELY
    values = {
        "completeness": measure.binary_recall(scores, member, threshold=_CUT),
        "purity": measure.binary_precision(scores, member, threshold=_CUT),
        "false_positives": ((scores > _CUT) & (member == 0)).sum(),
        "average_precision": measure.binary_average_precision(scores, member),
    }
    if likely.any():
        values["calibration_error"] = measure.binary_calibration_error(scores[likely], member[likely])
    return {prefix + name: value.item() for name, value in values.items()}


def bare_magnitudes(model: Model, stars: Data) -> int:
    """Number of stars with a magnitude whose error is missing, so that it counts as not measured."""
    photometric = [part for part in model.parts() if part.curve() is not None]
    pairs = {name: error for part in photometric for name, error in part.error_names.items()}
    bare = torch.zeros(len(stars), dtype=torch.bool, device=stars.device)
    for name, error in pairs.items():
        bare |= stars.where[name] & ~stars.where[error]
    return int(bare.sum())


def track_metrics(table: Table, model_values: Mapping[str, Any]) -> dict[str, float]:
    """How far the fitted functions are from the truth, over the stars in the stream's extent, members or not.

    Arguments:
        table: Stars with ``true_weight``, positive in the stream's extent, and ``true_<name>`` columns, N rows.
        model_values: Fitted value (N,) at each star's phi1 by name, such as ``phi2`` or ``distance``.

    Returns:
        ``<name>_rms``, the root mean square difference in the coordinate's unit, ``<name>_rms_relative``, the same
        over the root mean square truth, ``<name>_ratio``, of the mean fitted value to the mean truth, and
        ``<name>_coverage``, the share of those stars at whose phi1 the 90 % band holds the truth.
    """
    if "true_weight" not in table.colnames:
        return {}
    extent = np.asarray(table["true_weight"]) > 0
    out = {}
    for name, fitted in model_values.items():
        if f"true_{name}" in table.colnames and extent.any():
            truth = np.asarray(table[f"true_{name}"], dtype=float)[extent]
            off = np.asarray(fitted, dtype=float)[extent] - truth
            out[f"{name}_rms"] = float(np.sqrt(np.mean(off**2)))
            out[f"{name}_rms_relative"] = float(np.sqrt(np.mean(off**2) / np.mean(truth**2)))
            out[f"{name}_ratio"] = float(np.mean(off + truth) / np.mean(truth))
            if f"{name}_05" in model_values:
                low, high = (np.asarray(model_values[f"{name}_{q}"], dtype=float)[extent] for q in ("05", "95"))
                out[f"{name}_coverage"] = float(np.mean((low <= truth) & (truth <= high)))
    return out
