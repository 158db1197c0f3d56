"""A share of every background that is broad, so that no star surprises it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from stream_mapper.distributions._stable import HALF_LN_2PI
from stream_mapper.errors import InputError

FITTED = "fitted"
_START = 1e-4  # the share while the network is trained, which is to learn the tails that it can
_LEAST, _TYPICAL, _MOST = 1e-4, 0.01, 0.1
_HALVINGS = 50
_OVERFLOW = 300.0  # nats

WIDE = 3.0
"""Width of the broad law of a coordinate without a window, in standard deviations of the training stars."""

Law = tuple[Tensor, Tensor]
"""Means and standard deviations of independent normal laws, (F,) or (N, F) each."""


class Broad(nn.Module):
    r"""The share of a broad law in a mixture with a narrow one.

    .. math:: p = (1 - \epsilon) \, p_\mathrm{narrow} + \epsilon \, p_\mathrm{broad}

    The broad law is a product over the coordinates, each even over its window or, without one, normal and three times
    as wide as the training stars are. So its marginal over missing coordinates is the product of the others.

    Arguments:
        share: The share :math:`\epsilon`, between 0 and 1; or "fitted" for the one that stars have, see `fit`.

    Raises:
        InputError: If the share is not between 0 and 1.
    """

    logit: Tensor

    def __init__(self, share: float | str = FITTED) -> None:
        super().__init__()
        self.fitted = share == FITTED
        number = _START if isinstance(share, str) else share
        if not 0 < number < 1 or (isinstance(share, str) and not self.fitted):
            raise InputError(
                f'broad is the share of the broad density: between 0 and 1, "{FITTED}" or None; got {share!r}.'
            )
        self.register_buffer("logit", torch.tensor(number, dtype=torch.float64).logit().float())

    @torch.no_grad()
    def fit(self, ln_narrow: Tensor, ln_broad: Tensor) -> None:
        r"""Take the likeliest share for stars whose densities are known, (N,) each, unless a number was given.

        Its prior is :math:`\sqrt\epsilon \, e^{-100 \epsilon}`: where none of N stars is broad, about one in 2 N may
        be, and where both laws explain the stars alike the share is small. It stays between 1e-4 and a tenth.
        """
        if self.fitted:
            share = likeliest_share((ln_broad - ln_narrow).double())
            self.logit.fill_(math.log(share) - math.log1p(-share))

    @property
    def share(self) -> float:
        """The share; a GPU is waited for."""
        return self.logit.sigmoid().item()

    def mixed(self, ln_narrow: Tensor, ln_broad: Tensor) -> Tensor:
        """Log of the mixture from the logarithms of both densities, (N,) each."""
        narrow, broad = logsigmoid(-self.logit) + ln_narrow, self.ln_share(ln_broad)
        return torch.stack([narrow, broad.to(narrow.dtype)]).logsumexp(0)

    def ln_share(self, ln_broad: Tensor) -> Tensor:
        """The part of the mixture that is of the broad law, from the logarithm of its density, (N,)."""
        return logsigmoid(self.logit) + ln_broad

    def drawn(self, narrow: Tensor, broad: Tensor) -> Tensor:
        """Draws of the mixture from draws of both, (N, F) each."""
        chosen = torch.rand(len(narrow), 1, device=narrow.device) < self.logit.sigmoid()
        return torch.where(chosen, broad.to(narrow.dtype), narrow)


def likeliest_share(ln_ratio: Tensor) -> float:
    """Share of the broad law with the highest posterior, from its log ratio to the narrow one for each star, (N,).

    The derivative falls all along, so that its root is found by halving an interval.
    """
    excess = torch.expm1(ln_ratio.clamp(max=_OVERFLOW))
    low, high = _LEAST, _MOST
    for _ in range(_HALVINGS):
        share = math.sqrt(low * high)
        slope = (excess / (1 + share * excess)).sum().item() + 0.5 / share - 1 / _TYPICAL
        low, high = (share, high) if slope > 0 else (low, share)
    return math.sqrt(low * high)


def ln_normals(x: Tensor, law: Law) -> Tensor:
    """Log density of each of independent normal laws, (N, F)."""
    mean, scale = law
    return -0.5 * ((x - mean) / scale).square() - scale.log() - HALF_LN_2PI
