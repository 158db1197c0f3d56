"""A search for a gap or a peak anywhere along a component, and how often chance makes one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stream_mapper.inference.features.shape import KNOTS, NARROWEST, WIDEST, Fitted

_WIDTHS = 6
_STEP = 0.5  # between centres, in widths
_FEWEST = 3.0  # stars of the component expected under a template
_BY_RANK = 10  # draws above the value, from which on they are counted
_EULER = 0.5772156649015329


@dataclass(frozen=True)
class Candidate:
    """The strongest feature of a search.

    Arguments:
        centre: Its place.
        width: Its width (sigma).
        ln_left: A first guess of the logarithm of what it leaves at its centre.
        z: Its significance at its place, in sigma; negative for a gap.
        p_chance: How often a component without features shows one so significant anywhere.
    """

    centre: float
    width: float
    ln_left: float
    z: float
    p_chance: float


def strongest(fit: Fitted, draws: int, generator: torch.Generator) -> Candidate | None:
    """The most significant gap or peak beside what is fitted; None where there is no place for one.

    The score of a Gaussian template in the ln odds is that beside all parameters of the fit: what these can take up is
    projected out. Its law without features is that of stars drawn anew from the fit, gaps and peaks apart.
    """
    centres, widths = _templates(fit)
    bumps = (-0.5 * ((fit.shape.places[:, None] - centres) / widths).square()).exp()
    expected = (fit.stars.counts * fit.ln_odds.sigmoid()) @ bumps
    kept = expected >= _FEWEST
    if not kept.any():
        return None
    centres, widths, bumps = centres[kept], widths[kept], bumps[:, kept]
    projected, spread = _projected(fit, bumps)
    score = fit.stars.score(fit.ln_odds) @ projected
    z = score / spread
    null = fit.stars.simulated_scores(fit.ln_odds, draws, generator) @ (projected / spread)
    gap, peak = int(z.argmin()), int(z.argmax())
    p = {gap: p_above(-z[gap].item(), (-null).amax(-1)), peak: p_above(z[peak].item(), null.amax(-1))}
    best = min(p, key=lambda i: (p[i], -abs(z[i].item())))
    first = (score[best] / spread[best].square()).clamp(-2, 2).item()
    return Candidate(centres[best].item(), widths[best].item(), first, z[best].item(), 1 - (1 - p[best]) ** 2)


def p_above(z: float, maxima: Tensor) -> float:
    """Probability of a maximum above z, from draws of maxima, (D,).

    Where few are above, by a Gumbel law of z^2 / 2, which that of a Gaussian field becomes far out.
    """
    above = int((maxima >= z).sum())
    if above >= _BY_RANK:
        return (above + 1) / (len(maxima) + 1)
    y = maxima.clamp(min=0).square() / 2
    scale = max(y.std().item() * math.sqrt(6) / math.pi, 1e-3)
    start = y.mean().item() - _EULER * scale
    return -math.expm1(-math.exp(-(max(z, 0.0) ** 2 / 2 - start) / scale))


def _templates(fit: Fitted) -> tuple[Tensor, Tensor]:
    """Centres and widths of all templates, (M,), inside the ends."""
    begin, ln_begin, end, ln_end = fit.theta[KNOTS + 3 : KNOTS + 7].tolist()
    first = max(begin + 3 * math.exp(ln_begin), fit.stars.places[0].item())
    last = min(end - 3 * math.exp(ln_end), fit.stars.places[-1].item())
    centres, widths = [], []
    for share in torch.logspace(math.log10(NARROWEST), math.log10(WIDEST), _WIDTHS).tolist():
        width = share * fit.shape.length
        at = torch.arange(first + width, last - width, _STEP * width, dtype=torch.float64)
        centres.append(at)
        widths.append(torch.full_like(at, width))
    return torch.cat(centres), torch.cat(widths)


def _projected(fit: Fitted, bumps: Tensor) -> tuple[Tensor, Tensor]:
    """Templates (G, M) without what the parameters can take up, and the spread of their scores, (M,)."""
    information, slopes = fit.information, fit.slopes
    weighted = information[:, None] * bumps
    taken = torch.linalg.solve(fit.precision(slopes), slopes.T @ weighted)
    left = (bumps * weighted).sum(0) - (taken * (slopes.T @ weighted)).sum(0)
    return bumps - slopes @ taken, left.clamp(min=1e-12).sqrt()
