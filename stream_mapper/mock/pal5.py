"""A field like that of Pal 5: a globular cluster, its two tails, another cluster, and the field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stream_mapper.distributions import TruncatedExponential, TruncatedNormal
from stream_mapper.distributions._stable import ln_normal
from stream_mapper.errors import check_at_least
from stream_mapper.mock.base import Column, Simulator, Stars, normal, shuffled, uniform
from stream_mapper.mock.sky import on_the_sky
from stream_mapper.mock.survey.measurement import PROPER_MOTION_ERROR

WINDOW = {"phi1": (-16.0, 11.0), "phi2": (-4.0, 5.0), "pm_phi1": (-8.0, 14.0), "pm_phi2": (-10.0, 12.0)}
"""What the table is cut to [deg, mas/yr]."""
_MOTIONS = ("pm_phi1", "pm_phi2")
_G = (15.0, 20.5)  # mag
_RISE = -0.6  # decay of the magnitudes, 1 / mag: they rise
_TRACK = {  # polynomials in phi1 [deg], the constant first
    "phi2": (-0.008, 0.12, 0.013),  # deg
    "pm_phi1": (3.74, 0.035),  # mas/yr
    "pm_phi2": (0.706, 0.03, 0.002),  # mas/yr
}
_WIDTH, _DISPERSION = 0.12, 0.03  # deg, mas/yr
_TAILS = (-14.0, 8.5)  # their ends [deg]
_CLUSTER = 0.15  # deg: its spread along phi1
_M5 = {"phi1": -1.7345, "phi2": -1.4962, "pm_phi1": 2.04, "pm_phi2": 10.49}  # Vasiliev & Baumgardt 2021
_M5_WIDTH = 0.08  # deg
# The rotation from ICRS to gala.coordinates.Pal5PriceWhelan18, rounded.
_ROTATION = (
    (-0.6558203594952425, -0.7549138933794886, -0.0021642207272888872),
    (-0.6286570069881369, 0.5477192749567048, -0.5520814914960352),
    (0.4179593651152188, -0.3607057264147925, -0.8337873478802724),
)


class _Motion(NamedTuple):
    """A part of the field: its share, and mean and dispersion of pm_phi1 and of pm_phi2 [mas/yr]."""

    share: float
    mean: tuple[float, float]
    sigma: tuple[float, float]


_FIELD = (_Motion(0.6, (0.5, -1.0), (4.5, 4.0)), _Motion(0.4, (2.5, 1.0), (2.2, 2.0)))


class Pal5Mock(Simulator):
    r"""A field like that of the globular cluster Pal 5 and its tails, as Gaia sees it, and as simple as it can be.

    The table has ``ra``, ``dec``, ``pmra``, ``pmdec`` with errors, and ``g``. In `gala.coordinates.Pal5PriceWhelan18`,
    where Pal 5 is next to phi1 = phi2 = 0, it is cut to phi1 -16..11 deg, phi2 -4..5 deg, pm_phi1 -8..14 and pm_phi2
    -10..12 mas/yr; it stands for stars that have been chosen by their colour, of which nothing more is told.

    - Stream: phi2 = -0.008 + 0.12 phi1 + 0.013 phi1^2 deg, 0.12 deg wide; pm_phi1 = 3.74 + 0.035 phi1 and pm_phi2 =
      0.706 + 0.03 phi1 + 0.002 phi1^2 mas/yr, with a dispersion of 0.03 each. The density of the tails falls linearly
      from phi1 = 0 to their ends at -14 and 8.5 deg; the cluster is a Gaussian in phi1 of 0.15 deg on the same track.
    - Field: :math:`e^{-0.02 \phi_1}`, :math:`e^{-0.08 \phi_2}`; two normal laws of the proper motion.
    - M5: a round Gaussian of 0.08 deg at ra 229.638, dec 2.081, with its own proper motion. Its stars are labelled
      ``background``.

    Of every star the magnitude follows :math:`e^{0.6 g}` between 15 and 20.5 mag, so that the errors, which are Gaia's
    of that magnitude and the same for pmra and pmdec, tell nothing. ``true_p_member`` is the probability by position
    and proper motion; ``true_weight`` is the share of the stream among all at phi1 but the stars of M5.

    Arguments:
        seed: Seed of the random numbers.
        n_tails: Stars of the tails at phi1 < 0 and at phi1 > 0.
        n_cluster: Stars of Pal 5.
        n_background: Stars of the field.
        n_m5: Stars of M5.
    """

    def __init__(
        self,
        seed: int = 0,
        n_tails: tuple[int, int] = (350, 250),
        n_cluster: int = 120,
        n_background: int = 20_000,
        n_m5: int = 400,
    ) -> None:
        check_at_least("n_background", n_background)
        for name, size in {"n_tails": min(n_tails), "n_cluster": n_cluster, "n_m5": n_m5}.items():
            check_at_least(name, size, 0)
        self.seed, self.n_tails, self.n_cluster = seed, tuple(n_tails), n_cluster
        self.n_background, self.n_m5 = n_background, n_m5

    def simulate(self) -> dict[str, Column]:
        """Stars in random order, with their truth."""
        generator = torch.Generator().manual_seed(self.seed)
        makers = {"stream": self._stream, "background": self._field, "m5": self._m5}
        samples = [("background" if name == "m5" else name, make(generator)) for name, make in makers.items()]
        table = shuffled(samples, self._truth, generator)
        stars = {name: torch.as_tensor(table.pop(name)) for name in ("phi1", "phi2", *_MOTIONS)}
        rotation = torch.tensor(_ROTATION, dtype=torch.float64)
        return {**{name: column.numpy() for name, column in on_the_sky(stars, rotation).items()}, **table}

    def ln_stream(self, stars: Stars) -> Tensor:
        """Ln of the expected stars of the stream per unit of phi1, phi2 and proper motion, (N,)."""
        track = self.track(stars["phi1"])
        across = TruncatedNormal(track["phi2"], torch.full_like(track["phi2"], _WIDTH), *WINDOW["phi2"])
        motion = _ln_motion(stars, [track[name] for name in _MOTIONS], [_DISPERSION] * 2)
        return self.per_degree(stars["phi1"]).log() + across.log_prob(stars["phi2"]) + motion

    def ln_background(self, stars: Stars) -> Tensor:
        """Ln of the expected stars of the field and of M5 per unit of these, (N,)."""
        phi1, phi2 = _field_laws()
        motions = [_ln_motion(stars, law.mean, law.sigma) + math.log(law.share) for law in _FIELD]
        field = phi1.log_prob(stars["phi1"]) + phi2.log_prob(stars["phi2"]) + torch.stack(motions).logsumexp(0)
        width = torch.full_like(stars["phi1"], _M5_WIDTH)
        off = [ln_normal(stars[name], torch.full_like(width, _M5[name]), width) for name in ("phi1", "phi2")]
        m5 = off[0] + off[1] + _ln_motion(stars, [_M5[name] for name in _MOTIONS], [_DISPERSION] * 2)
        return torch.logaddexp(field + math.log(self.n_background), m5 + math.log(max(self.n_m5, 1e-300)))

    def per_degree(self, phi1: Tensor) -> Tensor:
        """Expected stars of the stream per degree of phi1, (N,)."""
        density = self.n_cluster * ln_normal(phi1, torch.zeros_like(phi1), torch.full_like(phi1, _CLUSTER)).exp()
        for size, end in zip(self.n_tails, _TAILS, strict=True):
            density = density + torch.where(phi1 * end > 0, 2 * size / abs(end) * (1 - phi1 / end).clamp(min=0), 0.0)
        return density

    @staticmethod
    def track(phi1: Tensor) -> Stars:
        """Centre of the stream at phi1 [deg] in phi2 and both proper motions, each (N,)."""
        return {name: sum((c * phi1**k for k, c in enumerate(p)), 0 * phi1) for name, p in _TRACK.items()}

    def _stream(self, generator: torch.Generator) -> Stars:
        tails = [
            end * (1 - uniform(size, 0, 1, generator).sqrt()) for size, end in zip(self.n_tails, _TAILS, strict=True)
        ]
        phi1 = torch.cat([*tails, _CLUSTER * normal(self.n_cluster, generator)])
        track = self.track(phi1)
        across = TruncatedNormal(track["phi2"], torch.full_like(phi1, _WIDTH), *WINDOW["phi2"])
        stars = {"phi1": phi1, "phi2": across.icdf(uniform(len(phi1), 0, 1, generator))}
        return _measured(stars, [track[name] for name in _MOTIONS], [torch.full_like(phi1, _DISPERSION)] * 2, generator)

    def _field(self, generator: torch.Generator) -> Stars:
        size = self.n_background
        phi1, phi2 = (law.icdf(uniform(size, 0, 1, generator)) for law in _field_laws())
        second = (uniform(size, 0, 1, generator) > _FIELD[0].share).long()
        mean, sigma = (torch.tensor([getattr(law, n) for law in _FIELD]).double()[second].T for n in ("mean", "sigma"))
        return _measured({"phi1": phi1, "phi2": phi2}, list(mean), list(sigma), generator)

    def _m5(self, generator: torch.Generator) -> Stars:
        stars = {name: _M5[name] + _M5_WIDTH * normal(self.n_m5, generator) for name in ("phi1", "phi2")}
        mean = [torch.full_like(stars["phi1"], _M5[name]) for name in _MOTIONS]
        return _measured(stars, mean, [torch.full_like(mean[0], _DISPERSION)] * 2, generator)

    def _truth(self, stars: Stars) -> Stars:
        track = self.track(stars["phi1"])
        field = self.n_background * _field_laws()[0].log_prob(stars["phi1"]).exp()
        density = self.per_degree(stars["phi1"])
        truth = {"true_p_member": (self.ln_stream(stars) - self.ln_background(stars)).sigmoid()}
        truth |= {"true_weight": density / (density + field)}
        truth |= {f"true_{name}": values for name, values in track.items()}
        widths = {"phi2": _WIDTH, **dict.fromkeys(_MOTIONS, _DISPERSION)}
        return truth | {f"true_{name}_sigma": torch.full_like(density, width) for name, width in widths.items()}


def _field_laws() -> list[TruncatedExponential]:
    """Laws of phi1 and of phi2 of the field."""
    decays = {"phi1": 0.02, "phi2": 0.08}
    return [
        TruncatedExponential(*torch.tensor([rate, *WINDOW[name]], dtype=torch.float64)) for name, rate in decays.items()
    ]


def _measured(stars: Stars, mean: list[Tensor], sigma: list[Tensor], generator: torch.Generator) -> Stars:
    """The stars with a magnitude, and with proper motions as measured, inside the window."""
    size = len(stars["phi1"])
    law = TruncatedExponential(*torch.tensor([_RISE, *_G], dtype=torch.float64))
    g = law.icdf(uniform(size, 0, 1, generator))
    error = PROPER_MOTION_ERROR(g)
    motions = {
        name: TruncatedNormal(centre, torch.hypot(spread, error), *WINDOW[name]).icdf(uniform(size, 0, 1, generator))
        for name, centre, spread in zip(_MOTIONS, mean, sigma, strict=True)
    }
    return {**stars, **motions, "pmra_err": error, "pmdec_err": error, "g": g}


def _ln_motion(stars: Stars, mean: Sequence[Tensor | float], sigma: Sequence[float]) -> Tensor:
    """Ln density of both proper motions as measured, over the window, (N,)."""
    total = torch.zeros_like(stars["phi1"])
    for name, centre, spread in zip(_MOTIONS, mean, sigma, strict=True):
        width = (stars["pmra_err"].square() + spread**2).sqrt()
        total = total + TruncatedNormal(centre + torch.zeros_like(width), width, *WINDOW[name]).log_prob(stars[name])
    return total
