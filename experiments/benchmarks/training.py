"""Stars a second in a training step of the mock's model, whole and by part.

python experiments/benchmarks/training.py --checkpoint runs/version_0/checkpoints/best.ckpt --stars 100000
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from common import FIT, best_of, fitted, options, peak_memory, report
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from stream_mapper import Data, MixtureModel
from stream_mapper.inference.chunked import ln_terms
from stream_mapper.inference.screening import screened
from stream_mapper.models import Batch, KnownDensities, Model, scope
from stream_mapper.models.base import Params
from stream_mapper.models.components import ComponentModel, ln_density
from stream_mapper.nn import OnGrid
from stream_mapper.training.screening import SKIP_BELOW

_CHUNK = 16_384  # stars of which a part is timed at once, as many as the package computes at once


class Step:
    """Forward, backward and optimiser on one batch."""

    def __init__(self, model: MixtureModel, batch: Batch) -> None:
        self.model, self.batch = model, batch
        self.optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])

    def __call__(self) -> None:
        """One step."""
        self.optimizer.zero_grad()
        total = ln_terms(self.model, self.model(self.batch.stars), self.batch)[1]
        loss = -(total.mean() + self.model.ln_prior())
        loss.backward()
        self.optimizer.step()


def leaves(model: Model, path: str = "") -> Iterator[tuple[str, Model]]:
    """The densities that a mixture is made of, by name."""
    if not isinstance(model, ComponentModel):
        yield path, model
        return
    for name, part in model.components.items():
        yield from leaves(part, f"{path}.{name}" if path else name)


def density(part: Model, params: Params, batch: Batch) -> Callable[[], None]:
    """One part's log density of all stars, as far as it is not known, and its derivatives in the part's parameters."""

    def compute() -> None:
        for start in range(0, len(batch), _CHUNK):
            rows = slice(start, start + _CHUNK)
            own = {name: value[rows].detach().requires_grad_() for name, value in params.items()}
            total = ln_density(part, own, batch[rows]).sum()
            if own and total.requires_grad:
                torch.autograd.grad(total, list(own.values()), materialize_grads=True)

    return compute


def networks(model: MixtureModel) -> Callable[[], None]:
    """The networks on their grids of phi1, there and back."""
    nets = [net for net in model.modules() if isinstance(net, OnGrid) and net.span is not None]
    nodes = [torch.linspace(*net.span, net.size, device=next(net.parameters()).device)[:, None] for net in nets]

    def compute() -> None:
        sum(net.net(x).sum() for net, x in zip(nets, nodes, strict=True)).backward()

    return compute


def parameters(model: MixtureModel, stars: Data) -> Callable[[], None]:
    """The parameters of all stars from the networks, there and back."""

    def compute() -> None:
        sum((value.sum() for value in model(stars).values() if value.requires_grad), torch.zeros(())).backward()

    return compute


class Bytes(TorchDispatchMode):
    """Counts the bytes that all operations read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [t for t in torch.utils._pytree.tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)]
            self.total += sum(t.numel() * t.element_size() for t in tensors)
        return out


def main() -> None:
    """Print the times as JSON."""
    asked = options(__doc__, *FIT)
    model, batch = fitted(asked)
    stars, frozen = batch.stars, batch.known.frozen
    params = {name: value.detach() for name, value in model(stars).items()}
    clock = {"every star": Step(model, batch)}
    clock |= {"part: networks": networks(model), "part: parameters of the stars": parameters(model, stars)}
    for name, part in leaves(model):
        known = KnownDensities({"": frozen[name]} if name in frozen else {})
        clock[f"part: {name}"] = density(part, scope(params, name), Batch(stars, known))
    clock["part: optimiser"] = clock["every star"].optimizer.step
    times = {name: best_of(function, asked.device) for name, function in clock.items()}
    if asked.device.type == "cpu":
        times["screening"] = best_of(lambda: screened(model, batch, SKIP_BELOW), asked.device, repeats=2)
        times["screened"] = best_of(Step(model, screened(model, batch, SKIP_BELOW)), asked.device)
    moved = {}
    for name in (name for name in clock if name.startswith("part: ")):
        with Bytes() as counter:
            clock[name]()
        moved[name] = counter.total
    report({"stars": asked.stars, "seconds": times, "bytes": moved, "peak_memory": peak_memory(asked.device)})


if __name__ == "__main__":
    main()
