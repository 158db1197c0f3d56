"""The functions along the stream after the training: the top of their posterior, its middle, and draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from stream_mapper.inference.ascent import ascend
from stream_mapper.inference.ensemble import Ensemble, draws_by_dropout
from stream_mapper.inference.kernels import Kernel
from stream_mapper.models.base import Model
from stream_mapper.models.components import part_name
from stream_mapper.models.known import Batch
from stream_mapper.models.mixture import MixtureModel
from stream_mapper.progress import progress

if TYPE_CHECKING:
    from stream_mapper.inference.laplace import FunctionPosterior
    from stream_mapper.models.base import ParametricModel


def polish(model: Model, ensemble: Ensemble, batches: Sequence[Sequence[Batch]]) -> list[list[Kernel]]:
    """Bring the functions of every fit to the top of their posterior, unless the model draws by dropout.

    Returns:
        The priors of each fit, which its stars chose.
    """
    if draws_by_dropout(model):
        return [[] for _ in ensemble.fits(model)]
    priors = []
    for one, fit_batches in progress(zip(ensemble.fits(model), batches, strict=True), "polish, fits", len(ensemble)):
        with one:
            priors.append(ascend(model, fit_batches))
    return priors


def posterior(
    model: Model, ensemble: Ensemble, batches: Sequence[Sequence[Batch]], priors: Sequence[Sequence[Kernel]]
) -> None:
    """Fit the posterior of every fit, and bring it to the middle of that, unless the model draws by dropout."""
    if draws_by_dropout(model):
        return
    posteriors = cast("list[FunctionPosterior]", list(ensemble.posteriors))
    each = zip(ensemble.fits(model), posteriors, batches, priors, strict=True)
    for one, laplace, fit_batches, kernels in progress(each, "posterior, fits", len(ensemble)):
        with one:
            laplace.fit(model, fit_batches, kernels, ensemble.resampled)


def scales_of(model: MixtureModel, ensemble: Ensemble) -> dict[str, list[float]]:
    """Scale of variation, in the unit of the coordinate, and amplitude of the prior of each output that varies.

    They are those of the first fit, by the path of the part and the name of the parameter.
    """
    first = cast("FunctionPosterior", ensemble.posteriors[0])
    parts = {path: cast("ParametricModel", model.get_submodule(path)) for path in first.priors()}
    return {
        f"{part_name(path)}.{name}": [kernel.scale, kernel.amplitude]
        for path, kernels in first.priors().items()
        for name, kernel in zip(parts[path].params.names, kernels, strict=True)
        if math.isfinite(kernel.scale)
    }
