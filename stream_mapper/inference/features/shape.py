"""The odds of a component along a stream: a smooth curve with two ends, and gaps and peaks on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from stream_mapper.inference.features.likelihood import BinnedStars

KNOTS = 5
"""Intervals of the smooth curve over the length of the component."""

NARROWEST, WIDEST = 1 / 160, 1 / 16
"""Widths of features, as shares of the length of the component."""

_BEND = 2.0  # spread of the second differences of the curve's coefficients, in nats
_LEVEL = 10.0  # spread of its coefficients
_DEPTH = 2.0  # spread of the logarithm of what a feature leaves
_END_WIDTH, _SHARPEST = 1 / 40, 1 / 400  # of an end, as shares of the length
_NEWTON, _GAIN = 40, 1e-2  # steps; of the log posterior, below which they end
_PER_FEATURE = 3  # parameters


@dataclass(frozen=True)
class Shape:
    """The log odds as a function of parameters, and the prior of these.

    The parameters are the coefficients of cubic B-splines; place and ln width of the beginning and of the end, each a
    logistic curve; and of each feature the logarithm a of what it leaves at its centre, its centre and ln width.

    Arguments:
        places: Places, (G,).
        low: Where the component begins, as far as is known beforehand.
        high: Where it ends.
        features: Number of gaps and peaks.
    """

    places: Tensor
    low: float
    high: float
    features: int = 0

    @property
    def length(self) -> float:
        """Length of the component."""
        return self.high - self.low

    def with_feature(self) -> Shape:
        """The same with one more feature."""
        return replace(self, features=self.features + 1)

    def smooth(self, theta: Tensor) -> Tensor:
        """The ln odds without features, (..., G)."""
        from_begin, to_end, _, _ = self._from_ends(theta)
        return theta[..., : KNOTS + 3] @ self.splines.T + logsigmoid(from_begin) + logsigmoid(to_end)

    def left(self, theta: Tensor) -> Tensor:
        """The ln of what each feature leaves of the component, (..., F, G)."""
        ln_left, bump, _, _ = self._bumps(theta)
        return torch.log1p(torch.expm1(ln_left) * bump)

    def of_features(self, theta: Tensor) -> Tensor:
        """The parameters of the features, (..., F, 3)."""
        return theta[..., KNOTS + 7 :].unflatten(-1, (self.features, _PER_FEATURE))

    def __call__(self, theta: Tensor) -> Tensor:
        """The ln odds, (..., G)."""
        return self.smooth(theta) + (self.left(theta).sum(-2) if self.features else 0)

    def slopes(self, theta: Tensor) -> Tensor:
        """Derivatives of the ln odds in the parameters (P,), (G, P)."""
        from_begin, to_end, begin, end = self._from_ends(theta)
        soft = [width / (width + self._sharpest) for width in theta[[KNOTS + 4, KNOTS + 6]].exp()]
        before, after = (-from_begin).sigmoid(), (-to_end).sigmoid()
        ends = [-before / begin, -before * from_begin * soft[0], after / end, -after * to_end * soft[1]]
        columns = [*self.splines.T, *ends]
        if self.features:
            ln_left, bump, off, width = self._bumps(theta)
            factor = bump / (1 + torch.expm1(ln_left) * bump)
            grown = torch.expm1(ln_left) * factor
            each = torch.stack([ln_left.exp() * factor, grown * off / width, grown * off.square()], 1)
            columns += [*each.flatten(0, 1)]
        return torch.stack(columns, -1)

    def _from_ends(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Distances from the beginning and to the end in their widths, (..., G), and these, (..., 1)."""
        begin, ln_begin, end, ln_end = theta[..., KNOTS + 3 : KNOTS + 7, None].unbind(-2)
        at_begin, at_end = (ln_width.exp() + self._sharpest for ln_width in (ln_begin, ln_end))
        return (self.places - begin) / at_begin, (end - self.places) / at_end, at_begin, at_end

    def _bumps(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of the features: ln of what they leave, (..., F, 1), their Gaussians and distances in widths, and widths."""
        ln_left, centre, ln_width = self.of_features(theta)[..., None].unbind(-2)
        off = (self.places - centre) / ln_width.exp()
        return ln_left, (-0.5 * off.square()).exp(), off, ln_width.exp()

    @property
    def _sharpest(self) -> float:
        """What is added to the widths of ends."""
        return _SHARPEST * self.length

    @cached_property
    def splines(self) -> Tensor:
        """Cubic B-splines of even knots over the length, constant in their argument beyond its ends, (G, K)."""
        u = ((self.places - self.low) / self.length).clamp(0, 1) * KNOTS
        t = (u[:, None] - torch.arange(-1.0, KNOTS + 2, dtype=torch.float64)).abs()
        return torch.where(t < 1, 2 / 3 - t.square() + t**3 / 2, (2 - t).clamp(min=0) ** 3 / 6)

    @cached_property
    def centre(self) -> Tensor:
        """Centre of the prior, (P,)."""
        ln_end = torch.tensor(_END_WIDTH * self.length, dtype=torch.float64).log().item()
        ln_width = torch.tensor((NARROWEST * WIDEST) ** 0.5 * self.length).log().item()
        ends = [self.low, ln_end, self.high, ln_end]
        return torch.tensor(
            [0.0] * (KNOTS + 3) + ends + [0.0, (self.low + self.high) / 2, ln_width] * self.features,
            dtype=torch.float64,
        )

    @cached_property
    def precision(self) -> Tensor:
        """Precision of the prior, (P, P)."""
        eye = torch.eye(KNOTS + 3, dtype=torch.float64)
        bends = eye.diff(dim=0).diff(dim=0) / _BEND
        ends = torch.tensor([self.length / 4, 1.0] * 2, dtype=torch.float64)
        features = torch.tensor([_DEPTH, self.length, 0.8] * self.features, dtype=torch.float64)
        spread = torch.cat([ends, features])
        return torch.block_diag(bends.T @ bends + eye / _LEVEL**2, torch.diag(spread**-2))

    def ln_prior(self, theta: Tensor) -> Tensor:
        """Log prior of parameters (..., P), up to a constant."""
        off = theta - self.centre
        return -0.5 * ((off @ self.precision) * off).sum(-1)


@dataclass(frozen=True)
class Fitted:
    """A shape at the top of its posterior.

    Arguments:
        stars: The stars.
        shape: The shape.
        theta: Its parameters, (P,).
    """

    stars: BinnedStars
    shape: Shape
    theta: Tensor

    @property
    def ln_odds(self) -> Tensor:
        """The ln odds in the bins, (G,)."""
        return self.shape(self.theta)

    @property
    def information(self) -> Tensor:
        """Expected information on the ln odds of each bin, (G,)."""
        return self.stars.information(self.ln_odds, self.shape.length / 5)

    @property
    def slopes(self) -> Tensor:
        """Derivatives of the ln odds in the parameters, (G, P)."""
        return self.shape.slopes(self.theta)

    def precision(self, slopes: Tensor) -> Tensor:
        """Precision of the parameters, (P, P), with the derivatives in them."""
        return slopes.T @ (self.information[:, None] * slopes) + self.shape.precision

    def ln_posterior(self, theta: Tensor) -> Tensor:
        """Log posterior of parameters (..., P), up to a constant."""
        return self.stars.ln_likelihood(self.shape(theta)) + self.shape.ln_prior(theta)

    def maximised(self) -> Fitted:
        """The shape at the top, by damped Fisher scoring."""
        here, damping = self, 1e-2
        value = here.ln_posterior(here.theta)
        for _ in range(_NEWTON):
            slopes = here.slopes
            gradient = slopes.T @ here.stars.score(here.ln_odds)
            gradient = gradient - here.shape.precision @ (here.theta - here.shape.centre)
            precision = here.precision(slopes)
            gain = torch.zeros(())
            while damping < 1e8:
                damped = precision + damping * torch.diag(precision.diag())
                there = replace(here, theta=here.theta + torch.linalg.solve(damped, gradient))
                new = there.ln_posterior(there.theta)
                if new > value:
                    gain, here, value, damping = new - value, there, new, max(damping / 10, 1e-6)
                    break
                damping *= 10
            if gain < _GAIN:
                break
        return here


def smooth_fit(stars: BinnedStars) -> Fitted:
    """The best smooth curve with two ends, from several places and widths of these."""
    shape = Shape(stars.places, stars.low, stars.high)
    fits = [_started(stars, shape, begin, end).maximised() for begin in (0.2, 5.0) for end in (0.2, 5.0)]
    return max(fits, key=lambda fit: fit.ln_posterior(fit.theta).item())


def _started(stars: BinnedStars, shape: Shape, begin: float, end: float) -> Fitted:
    """A level curve with as many members as the fit has, its ends as much wider than usual."""
    inside = (stars.places >= shape.low) & (stars.places <= shape.high)
    f = (stars.members.sum() / stars.counts[inside].sum()).clamp(1e-6, 0.99)
    theta = shape.centre.clone()
    theta[: KNOTS + 3] = f.logit()
    theta[KNOTS + 4] += torch.tensor(begin).log()
    theta[KNOTS + 6] += torch.tensor(end).log()
    return Fitted(stars, shape, theta)
