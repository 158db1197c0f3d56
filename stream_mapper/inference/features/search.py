"""Gaps and peaks of a component along a stream: found one after the other, then measured together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stream_mapper.errors import InputError
from stream_mapper.inference.features.likelihood import BinnedStars
from stream_mapper.inference.features.scan import Candidate, strongest
from stream_mapper.inference.features.shape import Fitted, smooth_fit

_MOST = 12  # features of a component
_FEWEST = 10.0  # members, below which there is nothing to search
_CHAINS, _STEPS, _BURN = 32, 300, 100


@dataclass(frozen=True)
class Feature:
    """A gap or a peak of the linear density of a component, against a smooth curve with two ends.

    The density is that curve times ``1 - depth exp(-(phi1 - centre)^2 / 2 width^2)``; ``_05`` and ``_95`` are quantiles
    of the posterior, all features, the curve and the ends being free.

    Arguments:
        kind: ``gap`` or ``peak``.
        phi1: Its centre, in the unit of the places.
        phi1_05: Its 5 % quantile.
        phi1_95: Its 95 % quantile.
        width: Its width: the standard deviation of the Gaussian, in the unit of the places.
        width_05: Its 5 % quantile.
        width_95: Its 95 % quantile.
        depth: Share of the stars that are missing at the centre of a gap, or in excess at that of a peak.
        depth_05: Its 5 % quantile.
        depth_95: Its 95 % quantile.
        stars: Number of stars that are missing or in excess.
        stars_05: Its 5 % quantile.
        stars_95: Its 95 % quantile.
        z: Significance at its place, in sigma; negative for a gap.
        p_chance: How often a component without features shows one so significant anywhere.
    """

    kind: str
    phi1: float
    phi1_05: float
    phi1_95: float
    width: float
    width_05: float
    width_95: float
    depth: float
    depth_05: float
    depth_95: float
    stars: float
    stars_05: float
    stars_95: float
    z: float
    p_chance: float


def find_features(
    positions: Tensor,
    ln_ratio: Tensor,
    ln_odds: Tensor,
    false_alarm: float = 0.05,
    draws: int = 400,
    seed: int = 0,
) -> list[Feature]:
    """Gaps and peaks of a component, from what a fit says of each star.

    Arguments:
        positions: Places of the stars along the stream, (N,).
        ln_ratio: ln of the density of each as a star of the component over that as one of the rest, without the place,
            (N,).
        ln_odds: ln of the odds of the component to the rest at the place of each, (N,). They start the search; the
            curve that gaps and peaks are on is found anew.
        false_alarm: In which share of components without features one or more may be listed.
        draws: Number of simulated components, by which chance is measured.
        seed: Seed of these, and of the draws of the posterior.

    Returns:
        The features, by their places; none where fewer than ten members are expected.

    Raises:
        InputError: If the false-alarm rate is not between 0 and 1.
    """
    if not 0 < false_alarm < 1:
        raise InputError(f"the false-alarm rate is a probability between 0 and 1; got {false_alarm}.")
    if (ln_odds + ln_ratio).sigmoid().sum() < _FEWEST:
        return []
    generator = torch.Generator().manual_seed(seed)
    fit, found = smooth_fit(BinnedStars.of(positions, ln_ratio, ln_odds)), list[Candidate]()
    while len(found) < _MOST:
        candidate = strongest(fit, draws, generator)
        if candidate is None or candidate.p_chance >= false_alarm:
            break
        fit, found = _with_feature(fit, candidate), [*found, candidate]
    return sorted(_measured(fit, found, generator), key=lambda feature: feature.phi1) if found else []


def _with_feature(fit: Fitted, candidate: Candidate) -> Fitted:
    """The fit with one more feature, all parameters at the top."""
    start = [candidate.ln_left, candidate.centre, torch.tensor(candidate.width).log().item()]
    theta = torch.cat([fit.theta, torch.tensor(start, dtype=torch.float64)])
    return replace(fit, shape=fit.shape.with_feature(), theta=theta).maximised()


def _measured(fit: Fitted, found: list[Candidate], generator: torch.Generator) -> list[Feature]:
    """The features with their quantiles, in the order in which they were found."""
    draws = sample(fit, generator)
    tops, spreads = _numbers(fit, fit.theta[None])[0], _numbers(fit, draws)
    levels = torch.tensor([0.05, 0.95], dtype=torch.float64)
    features = []
    for i, candidate in enumerate(found):
        gap = tops[i, 2] > 0
        sign = torch.tensor([1.0, 1.0] + [1.0 if gap else -1.0] * 2, dtype=torch.float64)
        low, high = (sign * spreads[:, i]).quantile(levels, 0)
        names = (name + ending for name in ("phi1", "width", "depth", "stars") for ending in ("", "_05", "_95"))
        values = torch.stack([sign * tops[i], low, high], -1).flatten().tolist()
        numbers = dict(zip(names, values, strict=True)) | {"z": candidate.z, "p_chance": candidate.p_chance}
        features.append(Feature("gap" if gap else "peak", **numbers))
    return features


def _numbers(fit: Fitted, theta: Tensor) -> Tensor:
    """Centre, width, depth and missing stars of the features for parameters (D, P), (D, F, 4)."""
    shape = fit.shape
    ln_left, centre, ln_width = shape.of_features(theta).unbind(-1)
    left, smooth = shape.left(theta), shape.smooth(theta)
    rest = fit.stars.counts * (-shape(theta)).sigmoid()
    without = (smooth + left.sum(-2))[:, None] - left  # ln odds without each feature
    missing = (rest[:, None] * (-without.exp() * torch.expm1(left))).sum(-1)
    return torch.stack([centre, ln_width.exp(), -torch.expm1(ln_left), missing], -1)


def sample(fit: Fitted, generator: torch.Generator) -> Tensor:
    """Draws of the posterior of all parameters, (D, P), by random walks of the size of the Laplace approximation."""
    size = len(fit.theta)
    precision = fit.precision(fit.slopes)
    root = torch.linalg.inv(torch.linalg.cholesky(precision)).T  # root root^T is the covariance
    steps = [torch.randn(_CHAINS, size, generator=generator, dtype=torch.float64) @ root.T for _ in range(_STEPS)]
    here = fit.theta + 0.3 * torch.randn(_CHAINS, size, generator=generator, dtype=torch.float64) @ root.T
    value, kept = fit.ln_posterior(here), []
    for i, step in enumerate(steps):
        there = here + 2.0 / size**0.5 * step
        new = fit.ln_posterior(there)
        taken = torch.rand(_CHAINS, generator=generator, dtype=torch.float64).log() < new - value
        here, value = torch.where(taken[:, None], there, here), torch.where(taken, new, value)
        if i >= _BURN:
            kept.append(here)
    return torch.cat(kept)
