"""What a fit begins with: one pass over two stars, to find what does not fit together, and a start from the guides."""

from __future__ import annotations

import warnings

import torch

from stream_mapper.data import Data
from stream_mapper.models.base import Model, is_pretrained
from stream_mapper.models.components import frozen_parts, ln_density
from stream_mapper.models.known import Batch, KnownDensities
from stream_mapper.prior import ControlRegions


@torch.no_grad()
def dry_run(model: Model, stars: Data) -> None:
    """Ask the model for everything a fit will ask, so that what does not fit together is found before the training.

    Raises:
        InputError: If a network has not one output a parameter, nobody sets a parameter, a prior's is unknown, or a
            star lacks more of a flow's coordinates than can be integrated over.
    """
    measured = model.measured(stars)
    for part in model.parts():
        if is_pretrained(part) and any(True for _ in part.parameters()):
            _dry_run_of_patterns(part, measured)
    two = stars[:2]
    known = KnownDensities({name: torch.zeros(len(two), device=two.device) for name in frozen_parts(model)})
    model.ln_prior()
    ln_density(model, model(two), Batch(two, known))


def _dry_run_of_patterns(part: Model, stars: Data) -> None:
    """Put one star of each pattern of missing coordinates through a density that knows nothing yet."""
    _, pattern = stars.where[part.coord_names].unique(dim=0, return_inverse=True)
    first = [int((pattern == i).nonzero()[0]) for i in pattern.unique()]
    examples = stars[torch.tensor(first, device=stars.device)]
    with warnings.catch_warnings(action="ignore"):
        part.ln_likelihood(part(examples), examples)


def start_from_guides(model: Model, steps: int = 500, learning_rate: float = 1e-2) -> None:
    """Bring the parameters to the centres of their control regions, by least squares in units of the half-widths."""
    guides = [(part, prior) for part, prior in model.held_priors() if isinstance(prior, ControlRegions)]
    if not guides:
        return
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=learning_rate)
    training = model.training
    model.eval()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.stack([guide.offsets(part).square().mean() for part, guide in guides]).sum()
        if loss.item() < 1e-3:
            break
        loss.backward()
        optimizer.step()
    model.train(training)
