"""A step of the training never waits for its device, nor copies to or from it.

There need not be one: the meta device has no numbers, so what would wait for them fails on it.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_models import CASES, stars
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stream_mapper.builtin import Isochrone
from stream_mapper.builtin.compat import FlowModel
from stream_mapper.builtin.compat.flow_model import _OfCompleteStars
from stream_mapper.builtin.isochrone import selection
from stream_mapper.data import Data
from stream_mapper.devices import without_sync
from stream_mapper.distributions._rectangle import ln_rectangle
from stream_mapper.inference.frozen import known_densities
from stream_mapper.models.base import is_pretrained, windows_of
from stream_mapper.models.known import Batch
from stream_mapper.training import StreamModule
from stream_mapper.training.callbacks import StopOnNonFinite
from stream_mapper.training.cli import StreamCLI

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
MAKE = {"tensor", "as_tensor", "asarray", "new_tensor", "from_numpy"}
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "linear", "addbmm", "addr"}

cases = pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())


class NoCopies(TorchFunctionMode):
    """Refuses tensors made from numbers of Python, and indexing by lists: both are copies from the host."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        made = function(*args, **(kwargs or {}))
        if name in MAKE and not isinstance(args[name == "new_tensor"], torch.Tensor) and made.device.type != "cpu":
            raise AssertionError(f"{name} copies {args[name == 'new_tensor']} to the device")
        if name in ("__getitem__", "__setitem__") and args[0].device.type != "cpu":
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            assert not any(isinstance(i, list) for i in index), f"the index {args[1]} is copied to the device"
        return made


class NoMixing(TorchDispatchMode):
    """Refuses operations with tensors of two devices, but for single numbers of the host, which need no copy."""

    seen = 0  # operations on the device

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        found = operator(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs or {}, found)) if isinstance(x, torch.Tensor)]
        assert len({x.device.type for x in tensors if x.ndim}) < 2, f"{operator} takes numbers to another device"
        self.seen += any(x.is_meta for x in tensors)
        return found


class NoProducts(TorchDispatchMode):
    """Refuses products of matrices, which TF32 would round to three digits."""

    seen = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        assert operator.__name__.split(".")[0] not in PRODUCTS, f"{operator} in a density"
        self.seen += 1
        return operator(*args, **(kwargs or {}))


def ready(model, data, device="meta"):
    """The model and the stars on the device, as in a fit: flows alone see complete stars, others are frozen."""
    model.fit_scalers(data)
    if isinstance(model, FlowModel):
        return _OfCompleteStars(model).to(device), Batch(data).to(device)
    for part in model.parts():
        part.requires_grad_(not is_pretrained(part) and any(weight.requires_grad for weight in part.parameters()))
    known = known_densities(model, data)
    return model.to(device), Batch(data, known).to(device)


def step(model, batch):
    """One step of the training, as the trainer takes it."""
    module, size = StreamModule(model), len(batch)
    batches = SimpleNamespace(sizes=[size], n_stars=size)
    steps = {"estimated_stepping_batches": 20, "global_step": 3, "max_steps": -1, "is_last_batch": True}
    trainer = SimpleNamespace(train_dataloader=batches, world_size=1, precision_plugin=None, **steps)
    module._trainer = trainer
    module.log_dict = lambda *args, **kwargs: None
    loss = module.training_step(batch, 0)
    if loss.requires_grad:
        found = module.configure_optimizers()
        optimizer, schedule = found["optimizer"], found["lr_scheduler"]["scheduler"]
        loss.backward()
        StopOnNonFinite().on_before_optimizer_step(trainer, module, optimizer)
        torch.nn.utils.clip_grad_norm_(module.parameters(), 10.0)
        optimizer.step()
        schedule.step()


def check(model, data):
    """Take a step, in which things are made that are kept, and check another; number of operations on the device."""
    model, batch = ready(model, data)
    step(model, batch)
    with NoCopies(), NoMixing() as watch:
        step(model, batch)
    return watch.seen


@cases
def test_a_step_stays_on_the_device(make, monkeypatch):
    # Which stars are near two windows' edges is asked of the device: the corners of all would cost far more.
    monkeypatch.setattr(selection, "_with_corners", lambda ln_p, *others: ln_p)
    case = make()
    if isinstance(case.model, FlowModel):
        torch.distributions.Distribution.set_default_validate_args(False)  # as zuko's import does
    assert check(case.model, stars(case)) > 5


@pytest.mark.parametrize("name", ["mock", "gd1", "survey"])
def test_a_step_of_an_experiment_stays_on_the_device(name, monkeypatch):
    def read(path: str, bands: dict[str, str], mass_range: tuple[float, float] | None = None) -> Isochrone:
        return Isochrone.synthetic(bands=list(bands))

    read.__module__, read.__qualname__ = Isochrone.__module__, "Isochrone.read_dartmouth"  # a name that is allowed
    monkeypatch.setattr(Isochrone, "read_dartmouth", staticmethod(read))
    model = StreamCLI(["--config", str(EXPERIMENTS / name / "config.yaml"), "--trainer.accelerator=cpu"]).model.model
    windows = {"phi1": (-60.0, -20.0)} | windows_of(model)
    columns = {column: windows.get(column, (0.01, 0.1)) for column in model.columns}
    data = {column: torch.empty(50).uniform_(*window) for column, window in columns.items()}
    assert check(model, Data(data)) > 100


@cases
def test_without_looking_the_numbers_are_the_same(make):
    """On a CPU rows are left out that other devices compute."""
    case = make()
    model, data = case.model.double(), stars(case, n=200).to(dtype=torch.float64)
    looking = ln_p_and_gradients(model, data)
    with without_sync():
        blind = ln_p_and_gradients(model, data)
    torch.testing.assert_close(blind, looking)


def ln_p_and_gradients(model, data):
    model.zero_grad()
    ln_p = model.ln_likelihood(model(data), data)
    if ln_p.requires_grad:
        ln_p.sum().backward()
    return ln_p.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


@cases
def test_a_density_given_its_parameters_does_without_products_of_matrices(make):
    case = make()
    if any(isinstance(part, FlowModel) for part in case.model.modules()):
        pytest.skip("the density of a flow is a network")
    data = stars(case)
    params = case.model(data)
    with NoProducts() as watch:
        case.model.ln_likelihood(params, data)
    assert watch.seen > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_rectangle_without_looking_is_the_same(dtype):
    """Rectangles about the mean, cut by it and far from it, with gradients."""
    size, spread = 400, 10 ** torch.empty(400, dtype=dtype).uniform_(-1, 4)
    middles = torch.randn(2, size, dtype=dtype) * spread
    widths = 10 ** torch.empty(2, size, dtype=dtype).uniform_(-1, 5)
    corr = torch.empty(size, dtype=dtype).uniform_(-0.99, 0.99)
    arguments = [middles[0], widths[0], middles[1], widths[1], corr, (1 - corr.square()).sqrt()]

    def found():
        leaves = [argument.clone().requires_grad_() for argument in arguments]
        ln_p = ln_rectangle(*leaves)
        return ln_p.detach(), torch.autograd.grad(ln_p.sum(), leaves)

    looking = found()
    with without_sync():
        blind = found()
    torch.testing.assert_close(blind, looking)
    assert 0.1 < (looking[0] == 0).double().mean() < 0.9
