"""The densities that `SurveyMock` documents, written anew in numpy and scipy."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import ndtr

from stream_mapper.builtin import Isochrone

GAPS = ((-20, 1.0, 0.95), (-4, 3.0, 0.6), (15, 1.8, 0.85))
G = (15, 21.2)


def poly(phi1, *coefficients):
    return np.polynomial.polynomial.polyval(phi1 / 40, coefficients)


def magnitude_error(m):
    return np.hypot(0.008, 0.025 * 10 ** (0.35 * (np.minimum(m, 22) - 20)))


def distmod(phi1):
    return poly(phi1, 14.55, 0.6, 0.4)


def taper(phi1, low, high, length):
    return np.sin(np.pi / 2 * np.clip(np.minimum(phi1 - low, high - phi1) / length, 0, 1)) ** 2


def gaps(phi1):
    return np.prod([1 - depth * np.exp(-0.5 * ((phi1 - c) / w) ** 2) for c, w, depth in GAPS], axis=0)


class Laws(NamedTuple):
    """Distribution of each observable of a population, as scipy or numpy has it."""

    phi1: Callable  # stars per deg, in any normalisation
    phi2: Callable  # frozen distribution at phi1
    motion: Callable  # means (N, 2) and intrinsic covariance (2, 2) at phi1
    photometry: Callable  # (cdf of g, cdf of r given g, ln density) at phi1, g, r


@cache
def curve():
    """Points of the synthetic isochrone and the share of the stars at each: dN/dm as m^-1/2, flat between nodes."""
    isochrone = Isochrone.synthetic(("g", "r"))
    at = np.linspace(0, len(isochrone.mass) - 1, 12 * (len(isochrone.mass) - 1) + 1)
    mass, g, r = (np.interp(at, np.arange(len(isochrone.mass)), c) for c in (isochrone.mass, *isochrone.magnitudes.T))
    weights = np.diff(np.sqrt(mass))
    return [(x[1:] + x[:-1]) / 2 for x in (g, r)], weights / weights.sum()


def stream_photometry(phi1, g, r):
    """By quadrature over more points than the simulator has, none left out; 200 stars at a time."""
    (g0, r0), weights = curve()
    parts = zip(*(np.array_split(x, len(g) // 200 + 1) for x in (distmod(phi1), g, r)), strict=True)
    return np.concatenate([_stream_chunk(g0, r0, weights, *part) for part in parts], axis=1)


def _stream_chunk(g0, r0, weights, mu, g, r):
    g0, r0 = g0 + mu[:, None], r0 + mu[:, None]
    var_g, var_r = (magnitude_error(m) ** 2 + 0.015**2 + 0.03**2 for m in (g0, r0))
    sigma = np.sqrt(var_g)
    low, here, high = (ndtr((x - g0) / sigma) @ weights for x in (G[0], g[:, None], G[1]))
    at_g = weights * np.exp(-0.5 * ((g[:, None] - g0) / sigma) ** 2) / sigma
    pull = 0.03**2 / var_g
    spread = np.sqrt(var_r - pull * 0.03**2)
    off = (r[:, None] - r0 - pull * (g[:, None] - g0)) / spread
    density = (at_g * np.exp(-0.5 * off**2) / spread).sum(-1) / (2 * np.pi * (high - low))
    r_given_g = (at_g * ndtr(off)).sum(-1) / at_g.sum(-1)
    return np.stack([(here - low) / (high - low), r_given_g, np.log(density)])


@cache
def shares():
    """Moduli, and the share of the stars of any magnitude that are inside the window of g."""
    (g0, _), weights = curve()
    moduli = np.linspace(14.2, 15.6, 281)
    m = g0 + moduli[:, None]
    sigma = np.sqrt(magnitude_error(m) ** 2 + 0.015**2 + 0.03**2)
    return moduli, (ndtr((G[1] - m) / sigma) - ndtr((G[0] - m) / sigma)) @ weights


def share(phi1):
    return np.interp(distmod(phi1), *shares())


def background_photometry(rise, *parts):
    """g as exp(rise g); g - r a mixture of (share, mean at 18, slope, sigma)."""

    def laws(phi1, g, r):
        norm = np.exp(rise * G[1]) - np.exp(rise * G[0])
        colours = [(w, stats.norm(mean + slope * (g - 18), sigma)) for w, mean, slope, sigma in parts]
        ln_g = np.log(rise / norm) + rise * g
        ln_colour = np.log(sum(w * law.pdf(g - r) for w, law in colours))
        bluer = sum(w * law.cdf(g - r) for w, law in colours)
        return np.stack([(np.exp(rise * g) - np.exp(rise * G[0])) / norm, 1 - bluer, ln_g + ln_colour])

    return laws


def motion(x, y, sigma_x, sigma_y, correlation=0.0):
    shared = correlation * sigma_x * sigma_y
    return lambda phi1: (np.stack([x(phi1), y(phi1)], -1), np.array([[sigma_x**2, shared], [shared, sigma_y**2]]))


def pm_phi1(phi1):
    return poly(phi1, -6.9, 0.5, 1.9)


def pm_phi2(phi1):
    return poly(phi1, -2.2, -0.4, -0.6, 0.2)


def phi2(phi1):
    return poly(phi1, 0.9, 0, -1.9, 0.8)


LAWS = {
    "stream": Laws(
        lambda x: taper(x, -32, 33, 8) * gaps(x) * share(x),
        lambda x: stats.norm(phi2(x), 0.1),
        motion(pm_phi1, pm_phi2, 0.03, 0.03),
        stream_photometry,
    ),
    "spur": Laws(
        lambda x: taper(x, -8, 9, 5) * share(x),
        lambda x: stats.norm(phi2(x) + 0.8, 0.15),
        motion(lambda x: pm_phi1(x) + 0.3, pm_phi2, 0.03, 0.03),
        stream_photometry,
    ),
    "disc": Laws(
        lambda x: np.exp(-0.008 * x),
        lambda x: stats.truncexpon(0.96, -4, 1 / 0.12),
        motion(lambda x: -2.5 + 0.03 * x, lambda x: -3.5 - 0.015 * x, 4.2, 3.4, 0.35),
        background_photometry(0.25, (0.45, 1.35, 0, 0.12), (0.55, 0.45, 0.09, 0.16)),
    ),
    "halo": Laws(
        np.ones_like,
        lambda x: stats.uniform(-4, 8),
        motion(lambda x: -6 + 0.01 * x, lambda x: -2.6 + 0 * x, 1.8, 1.6, 0.1),
        background_photometry(0.75, (1.0, 0.3, 0.025, 0.08)),
    ),
}
PLACES = np.linspace(-40, 40, 1601)


def ln_phi1(law, phi1):
    """Log density of phi1."""
    density = law.phi1(PLACES)
    with np.errstate(divide="ignore"):
        return np.log(law.phi1(phi1) / np.trapezoid(density, PLACES))


def whitened(law, stars):
    """Proper motions less their mean, in units of their spread, (N, 2), and ln density."""
    mean, cov = law.motion(stars["phi1"])
    errors = np.stack([stars["pm_phi1_err"], stars["pm_phi2_err"]], -1)
    root = np.linalg.cholesky(cov + errors[:, :, None] ** 2 * np.eye(2))
    off = np.stack([stars["pm_phi1"], stars["pm_phi2"]], -1) - mean
    white = np.linalg.solve(root, off[..., None])[..., 0]
    return white, stats.norm.logpdf(white).sum(-1) - np.log(root[:, 0, 0] * root[:, 1, 1])
