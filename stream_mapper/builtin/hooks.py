"""Links between the parameters of different parts of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from stream_mapper.errors import InputError

_PER_LN = 5 / math.log(10)  # d(distance modulus) / d(ln distance)


class Parallax2DistMod:
    r"""Sets the distance modulus of the photometry from the parallax of the astrometry.

    .. math:: \mu = 10 - 5 \log_{10}(\varpi / \mathrm{mas}),
        \quad \sigma_\mu = \frac{5}{\ln 10} \frac{\sigma_\varpi}{\varpi}

    to first order in the relative width. The parallax must be bounded above zero.

    Arguments:
        astrometric_coord: Prefix of the parallax, such as "astrometric.parallax" [mas].
        photometric_coord: Prefix of the modulus, such as "photometric.distmod" [mag].
    """

    def __init__(self, astrometric_coord: str, photometric_coord: str) -> None:
        self.astrometric_coord, self.photometric_coord = astrometric_coord, photometric_coord

    def __call__(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parameters with the modulus' ``mu`` and ``ln-sigma`` set."""
        mu = _get(params, f"{self.astrometric_coord}.mu", self)
        ln_sigma = _get(params, f"{self.astrometric_coord}.ln-sigma", self)
        return {
            **params,
            f"{self.photometric_coord}.mu": 10 - 5 * torch.log10(mu),
            f"{self.photometric_coord}.ln-sigma": math.log(_PER_LN) + ln_sigma - mu.log(),
        }


class ShareParameters:
    """Gives one part the parameters of another.

    Arguments:
        shared: Prefix of the receiver to prefix of the giver, such as
            ``{"spur.astrometric.pm_phi1": "stream.astrometric.pm_phi1"}``.
    """

    def __init__(self, shared: dict[str, str]) -> None:
        self.shared = dict(shared)

    def __call__(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parameters with the receivers' set."""
        out = dict(params)
        for receiver, giver in self.shared.items():
            given = {name: value for name, value in params.items() if name == giver or name.startswith(f"{giver}.")}
            if not given:
                raise InputError(f"ShareParameters: no parameter {giver!r}; the model has {list(params)}.")
            out |= {receiver + name[len(giver) :]: value for name, value in given.items()}
        return out


def _get(params: Mapping[str, Tensor], name: str, hook: object) -> Tensor:
    if name not in params:
        raise InputError(f"{type(hook).__name__}: no parameter {name!r}; the model has {list(params)}.")
    return params[name]
