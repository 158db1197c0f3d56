"""A share of every background that is broad, so that no star surprises it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from stream_mapper.distributions._stable import HALF_LN_2PI
from stream_mapper.errors import InputError

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
        share: The share :math:`\epsilon`, between 0 and 1.
        trained: Whether it is a parameter, which starts at that value.

    Raises:
        InputError: If the share is not between 0 and 1.
    """

    def __init__(self, share: float, trained: bool = False) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise InputError(f"broad is the share of the broad density, between 0 and 1 (None for none); got {share}.")
        logit = torch.tensor(share, dtype=torch.float64).logit().float()
        if trained:
            self.logit = nn.Parameter(logit)
        else:
            self.register_buffer("logit", logit)

    @property
    def share(self) -> float:
        """The share; a GPU is waited for."""
        return self.logit.sigmoid().item()

    def mixed(self, ln_narrow: Tensor, ln_broad: Tensor) -> Tensor:
        """Log of the mixture from the logarithms of both densities, (N,) each."""
        narrow, broad = logsigmoid(-self.logit) + ln_narrow, logsigmoid(self.logit) + ln_broad
        return torch.stack([narrow, broad.to(narrow.dtype)]).logsumexp(0)

    def drawn(self, narrow: Tensor, broad: Tensor) -> Tensor:
        """Draws of the mixture from draws of both, (N, F) each."""
        chosen = torch.rand(len(narrow), 1, device=narrow.device) < self.logit.sigmoid()
        return torch.where(chosen, broad.to(narrow.dtype), narrow)


def ln_normals(x: Tensor, law: Law) -> Tensor:
    """Log density of each of independent normal laws, (N, F)."""
    mean, scale = law
    return -0.5 * ((x - mean) / scale).square() - scale.log() - HALF_LN_2PI
