"""Bands of a small fit against those of NUTS on the same posterior, by Pyro.

    python experiments/nuts/run.py --folder runs/nuts [--samples 400] [--warm-up 200] [--seed 0]

The fit is that of `experiments/checks`, without parallaxes, of a few stars. Its likelihood, its guides and the priors
that its stars chose are handed to Pyro's No-U-Turn sampler, which knows nothing of tops and curvatures but the
coordinates it starts in. It needs `pip install pyro-ppl`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor, nn
from torch.func import functional_call

from stream_mapper import Data
from stream_mapper.fitted import Fit
from stream_mapper.inference.ascent import in_prior, root_of_precision
from stream_mapper.inference.expansion import expand
from stream_mapper.inference.frozen import known_densities
from stream_mapper.inference.functions import Functions
from stream_mapper.inference.kernels import Kernel
from stream_mapper.models import Batch
from stream_mapper.models.components import ln_density

sys.path.insert(0, str(Path(__file__).parents[1] / "checks"))
from cases import fit_of, photometric, tailored

PLACES = 21
QUANTILES = (0.05, 0.95)


class LnPosterior(nn.Module):
    """The log posterior of the functions of a fit, in coordinates in which its Laplace approximation is standard.

    Arguments:
        fit: The fit.
        batch: Its training stars.
    """

    def __init__(self, fit: Fit, batch: Batch) -> None:
        super().__init__()
        self.model, self.batch = fit.model, batch
        functions = Functions(fit.model, [batch])
        self.paths, self.nodes = list(functions.parts), functions.size
        self.sizes = [len(part.params) for part in functions.parts.values()]
        span = functions.ends[1] - functions.ends[0]
        kernels = kernels_of(fit, span)
        roots = [kernel.root(functions.size) for kernel in kernels]
        expansion, top = expand(fit.model, functions, [batch]), functions.values()
        root = torch.block_diag(*roots)
        precision = root_of_precision(in_prior(expansion, roots))
        centres = torch.tensor([[kernel.centre] for kernel in kernels], dtype=torch.float64)
        pull = root.T @ (expansion.gradient + expansion.pull(top - centres)).flatten()
        self.register_buffer("z", torch.cholesky_solve(pull[:, None], precision)[:, 0])
        self.register_buffer("root", root)
        self.register_buffer("shape_of", torch.linalg.inv(precision).T)
        self.register_buffer("networks", torch.cat(functions.networks) - centres)

    def corrections(self, y: Tensor) -> dict[str, Tensor]:
        """The corrections of the networks at the sampler's coordinates, by the names of the buffers they are."""
        z = self.z + self.shape_of @ y
        values = (self.root @ z).view(-1, self.nodes) - self.networks
        named = zip(self.paths, values.float().split(self.sizes), strict=True)
        return {f"model.{path}.correction.values": block for path, block in named}

    def forward(self, _: None = None) -> Tensor:
        """Log likelihood and log prior of the model as it is, in nats."""
        stars = self.batch.stars
        return ln_density(self.model, self.model(stars), self.batch).double().sum() + self.model.ln_prior()

    def potential(self, sites: Mapping[str, Tensor]) -> Tensor:
        """Minus the log posterior, as Pyro takes it."""
        y = sites["y"]
        z = self.z + self.shape_of @ y
        return 0.5 * z.square().sum() - functional_call(self, self.corrections(y), (None,))


def kernels_of(fit: Fit, span: float) -> list[Kernel]:
    """The priors that the stars of a fit chose, one an output."""
    return [kernel for rows in fit.ensemble.posteriors[0].priors(span).values() for kernel in rows]


def curves(fit: Fit, at: Tensor) -> dict[str, Tensor]:
    """Every parameter at some places."""
    with torch.no_grad():
        params = fit.model(Data({"phi1": at}))
    return {name: value.expand(len(at)) for name, value in params.items() if name != "background.ln-weight"}


def sampled(posterior: LnPosterior, fit: Fit, at: Tensor, options: argparse.Namespace) -> dict[str, Tensor]:
    """The parameters at some places under each sample, (S, G) by name."""
    pyro.set_rng_seed(options.seed)
    kernel = NUTS(potential_fn=posterior.potential, target_accept_prob=0.8, max_tree_depth=6)
    start = {"y": torch.zeros(len(posterior.z), dtype=torch.float64)}
    chain = MCMC(kernel, options.samples, warmup_steps=options.warm_up, initial_params=start, disable_progbar=True)
    chain.run()
    out: list[dict[str, Tensor]] = []
    for y in chain.get_samples()["y"]:
        for name, values in posterior.corrections(y).items():
            path, _, buffer = name.removeprefix("model.").rpartition(".")
            setattr(fit.model.get_submodule(path), buffer, values)
        out.append(curves(fit, at))
    return {name: torch.stack([one[name] for one in out]) for name in out[0]}


def drawn(fit: Fit, at: Tensor, count: int) -> dict[str, Tensor]:
    """The same under each draw of the fit."""
    draws = fit.draws(count, at)
    return {name: torch.as_tensor(values) for name, values in draws.items() if values.ndim == 2}


def compared(ours: Tensor, theirs: Tensor) -> dict[str, float]:
    """Width of our band over theirs, and how far the middles are apart in their widths; medians over the places."""
    bands = [v.double().quantile(torch.tensor(QUANTILES, dtype=torch.float64), 0) for v in (ours, theirs)]
    widths = [high - low for low, high in bands]
    apart = (ours.double().median(0).values - theirs.double().median(0).values).abs() / widths[1]
    return {"width": (widths[0] / widths[1]).median().item(), "apart": apart.median().item()}


def main(args: Sequence[str] | None = None) -> None:
    """Fit, sample, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, default=Path("runs/nuts"))
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--warm-up", type=int, default=200)
    parser.add_argument("--stream", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(args)
    fit = fitted(options)
    stars = fit.catalogue.stars if fit.catalogue else Data({})
    inside = fit.model.in_window(stars).nonzero()[:, 0]
    batch = Batch(stars, known_densities(fit.model, stars))[inside]
    at = torch.linspace(-18, 28, PLACES)
    ours = drawn(fit, at, options.samples)
    theirs = sampled(LnPosterior(fit, batch), fit, at, options)
    rows = {name: compared(ours[name], theirs[name]) for name in theirs if name in ours}
    (options.folder / "comparison.json").write_text(json.dumps(rows, indent=1))
    print("| parameter | width of the fit's band over that of NUTS | middles apart, in bands |\n|---|---|---|")
    print("\n".join(f"| `{name}` | {row['width']:.2f} | {row['apart']:.2f} |" for name, row in rows.items()))


def fitted(options: argparse.Namespace) -> Fit:
    """The fit of a small mock, whose background is not trained again."""
    config: dict[str, Any] = photometric()
    config["data"] |= {"val_fraction": 0.01}
    config["background"] |= {"copies": 0}
    return fit_of(config, tailored(options.seed, options.stream, 3000), options.folder)


if __name__ == "__main__":
    main()
