"""A field with a stream of random truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from stream_mapper.builtin.isochrone import Isochrone, PowerLawMassFunction
from stream_mapper.errors import InputError, check_at_least
from stream_mapper.mock.base import Column, Simulator, Stars, shuffled
from stream_mapper.mock.survey.background import disc, halo, well_mixed
from stream_mapper.mock.survey.measurement import measure
from stream_mapper.mock.survey.photometry import CurvePhotometry
from stream_mapper.mock.survey.population import Population
from stream_mapper.mock.survey.stream import Stream, truth_of
from stream_mapper.mock.truth import StreamTruth

Kind = Literal["photometric", "survey"]

_HALO = 0.25  # share of the background of a survey
_MISSING = {"photometric": (0.0, 1.0), "survey": (0.08, 0.04)}  # shares without magnitudes, without proper motions


class RandomMock(Simulator):
    """A stream drawn at random, in the window and with the errors of the survey mock, and its truth at any phi1.

    Stars have phi1, phi2, g, r and the errors of the magnitudes; a ``survey`` has proper motions, too, and lacks some
    values, as :class:`SurveyMock` does. The background of a survey is disc and halo; that of a ``photometric`` one has
    one broad range of colours, the same everywhere. Numbers of stars are Poisson draws about the expected ones,
    of which ``true_weight``, ``true_density`` (of the stream, per deg) and ``true_p_member`` are.

        >>> mock = RandomMock(seed=3, n_background=500)
        >>> mock.truth_at([0.0])["phi2_sigma"].item() == mock.truth.width(torch.zeros(1).double()).item()
        True

    Arguments:
        seed: Seed of the truth and of the stars.
        kind: What is measured of a star.
        n_background: Expected number of background stars.
        truth: The stream; by default drawn with the seed.
        depth: Spread of the distance modulus [mag].
        scatter: Intrinsic scatter about the isochrone in each band [mag].
        isochrone: Absolute magnitudes in g and r; the package's synthetic curve by default.

    Raises:
        InputError: If the kind is not known, or there is no background.
    """

    def __init__(
        self,
        seed: int = 0,
        kind: Kind = "survey",
        n_background: int = 8000,
        truth: StreamTruth | None = None,
        depth: float = 0.03,
        scatter: float = 0.015,
        isochrone: Isochrone | None = None,
    ) -> None:
        check_at_least("n_background", n_background)
        if kind not in _MISSING:
            raise InputError(f"the kind of a RandomMock is one of {sorted(_MISSING)}; got {kind!r}.")
        self.kind, self.depth, self.truth = kind, depth, truth or StreamTruth.drawn(seed)
        self._generator = torch.Generator().manual_seed(seed)
        curve = isochrone or Isochrone.synthetic(bands=("g", "r"))
        photometry = CurvePhotometry(curve, PowerLawMassFunction(-0.5), scatter, depth)
        expected = self.truth.expected
        self.stream = Stream(self._number(expected), self.truth, photometry, expected)
        self.background = [make(self._number(size), size) for make, size in _background(kind, n_background)]
        self._state = self._generator.get_state()

    def simulate(self) -> dict[str, Column]:
        """Stars in random order, with their truth; the same every time."""
        generator = self._generator.set_state(self._state)
        named = [("stream", self.stream), *(("background", population) for population in self.background)]
        missing = _MISSING[self.kind]
        samples = [(name, measure(population.sample(generator), *missing, generator)) for name, population in named]
        table = shuffled(samples, self._truth, generator)
        if self.kind == "photometric":
            table = {name: values for name, values in table.items() if "pm_" not in name}
        return table

    def truth_at(self, phi1: Tensor | list[float]) -> Stars:
        """Truth of the stream at phi1 [deg], each (N,).

        Returns:
            ``phi2``, ``pm_phi1``, ``pm_phi2``, ``distmod``, ``distance`` [kpc], each with its ``_sigma``; ``weight``,
            ``density`` of the stream and ``total_density`` of all stars [1/deg], in expectation.
        """
        at = torch.as_tensor(phi1, dtype=torch.float64)
        centre, widths = truth_of(self.truth, at, self.depth)
        density = self.stream.ln_number(at).exp()
        total = density + sum(population.ln_number(at).exp() for population in self.background)
        numbers = {"weight": density / total, "density": density, "total_density": total}
        return {**centre, **widths, **numbers}

    def _number(self, expected: float) -> int:
        return int(torch.poisson(torch.tensor(expected, dtype=torch.float64), self._generator))

    def _truth(self, stars: Stars) -> Stars:
        field = torch.stack([population.ln_density(stars) for population in self.background]).logsumexp(0)
        truth = {"p_member": (self.stream.ln_density(stars) - field).sigmoid(), **self.truth_at(stars["phi1"])}
        return {f"true_{name}": values for name, values in truth.items()}


def _background(kind: Kind, size: float) -> list[tuple[Callable[[int, float], Population], float]]:
    """What makes each population of the background, and its expected number of stars."""
    return [(well_mixed, size)] if kind == "photometric" else [(disc, (1 - _HALO) * size), (halo, _HALO * size)]
