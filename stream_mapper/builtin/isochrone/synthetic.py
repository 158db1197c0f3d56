"""A curve that looks like an isochrone, from elementary functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def synthetic_mass(g: NDArray[np.float64]) -> NDArray[np.float64]:
    """Initial mass against M_g: nearly linear below the turn-off, all but constant above it."""
    main_sequence = 0.075 * 0.35 * np.logaddexp(0, (g - 4.1) / 0.35)
    evolved = 0.008 * np.exp((g - 4.1) / 2)
    mass: NDArray[np.float64] = 0.812 - main_sequence - evolved
    return mass


def synthetic_magnitudes(g: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """M_g, M_r and M_i: a main sequence and a giant branch in g - r, blended over the subgiants; and Gaia's bands."""
    depth = np.logaddexp(0, (g - 4.3) / 0.4) * 0.4
    dwarf = 0.20 + 0.055 * depth + 0.022 * depth**2
    height = np.logaddexp(0, (3.4 - g) / 0.5) * 0.5
    giant = 0.44 + 0.05 * height + 0.009 * height**2
    evolved = 1 / (1 + np.exp((g - 3.45) / 0.12))
    g_r = dwarf + (giant - dwarf) * evolved
    r_i = 0.38 * g_r + 0.08 * g_r**2 - 0.03
    return {"g": g, "r": g - g_r, "i": g - g_r - r_i, **_gaia(g, g_r + r_i)}


def _gaia(g: NDArray[np.float64], g_i: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Gaia's bands, linear in g - i."""
    broad, bp_rp = g - 0.07 - 0.75 * g_i, 0.36 + 0.82 * g_i
    rp = broad - 0.05 - 0.45 * bp_rp
    return {"G": broad, "BP": rp + bp_rp, "RP": rp}
