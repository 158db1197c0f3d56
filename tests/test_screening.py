"""Densities that are skipped because they cannot matter."""

import math

import torch
from small_models import NAN, ONLY_WIDTH, mixture, normal, numbers, phi2_at, switched

import stream_mapper as sml
from stream_mapper import Data
from stream_mapper.inference.screening import screened, together
from stream_mapper.models import Batch, KnownDensities, scope
from stream_mapper.nn import Constant
from stream_mapper.params import ModelParameter, ModelParameters


def test_screening_leaves_out_only_what_does_not_matter():
    """Stars far from a narrow stream keep the density they had; the derivatives stay those of all the stars."""
    model = mixture("stream", stream=lambda: normal(net=Constant(2)))
    model.components["stream"].net.value.data = torch.tensor([0.2, -2.0])
    stars = phi2_at(*torch.linspace(-1.9, 1.9, 400).tolist()).with_columns({"phi2_err": torch.ones(400)})
    some = screened(model, Batch(stars), 1e-5)
    (skipped,) = some.known.skipped.values()
    far = ~skipped.isnan()
    assert 0.5 < far.float().mean().item() < 0.95
    assert list(some.known.skipped) == ["stream"]
    assert model.components["stream"].ln_likelihood(scope(model(stars), "stream"), stars)[far].max() < -10

    def joint(batch):
        return model.ln_joint(model(batch.stars), batch.stars, batch.known)

    def slopes(batch):
        ln_p = model.ln_likelihood(model(batch.stars), batch.stars, batch.known)
        return torch.autograd.grad(ln_p.sum(), list(model.parameters()))

    for found, expected in zip(slopes(some), slopes(Batch(stars)), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(joint(some), joint(Batch(stars)))
    model.components["stream"].net.value.data += 0.05  # a little further: what is skipped is a little old
    new, old = (joint(batch).softmax(-1) for batch in (Batch(stars), some))
    torch.testing.assert_close(old, new, atol=1e-3, rtol=0)
    assert not torch.equal(joint(some), joint(Batch(stars)))
    expected = joint(Batch(stars))
    torch.testing.assert_close(joint(screened(model, some, 1e-5)), expected)
    light = screened(model, some, 1e-5, recheck_below=1e-14)  # those far off keep what they had, the others do not
    farthest = joint(some).softmax(-1)[:, 0] < 1e-14
    assert 0 < farthest.sum() < far.sum()
    now, before = (batch.known.skipped["stream"] for batch in (light, some))
    torch.testing.assert_close(now[farthest], before[farthest], rtol=0, atol=0)
    torch.testing.assert_close(joint(light)[~farthest], expected[~farthest])


def test_screened_stars_are_put_together_as_far_as_may_be():
    """In order, with at most so many whose densities are computed; a batch that has more stays alone."""
    stars = phi2_at(*range(10))
    known = KnownDensities(skipped={"stream": torch.tensor([0.0, 0, NAN, 0, NAN, NAN, NAN, 0, 0, 0])})
    batches = Batch(stars, known).split(2)
    for computed, sizes in ((10, [10]), (2, [4, 2, 4]), (1, [4, 2, 4]), (3, [6, 4])):
        found = together(batches, computed)
        assert [len(batch) for batch in found] == sizes, computed
        whole = Batch.cat(found)
        torch.testing.assert_close(whole.stars["phi2"], stars["phi2"])
        torch.testing.assert_close(whole.known.skipped, known.skipped, equal_nan=True)
    assert [len(batch) for batch in together([Batch(stars)] * 3, 20)] == [20, 10]


def test_screening_of_a_mixture_within_a_mixture():
    """The parts of the inner one may be called like those of the outer one."""
    inner = mixture("stream")
    outer = sml.MixtureModel(
        {"stream": normal(net=Constant(2)), "background": inner},
        net=Constant(1),
        data_scaler=numbers(),
        params=ModelParameters({"stream.ln-weight": ModelParameter()}),
    )
    outer.components["stream"].net.value.data = torch.tensor([0.2, -3.0])
    data = phi2_at(*torch.linspace(-1.9, 1.9, 40).tolist())
    some = screened(outer, Batch(data), 1e-5)
    assert not some.known.skipped["stream"].isnan().all()
    torch.testing.assert_close(outer.ln_joint(outer(data), data, some.known), outer.ln_joint(outer(data), data))


def test_a_hook_may_set_one_number_for_all_stars():
    model = mixture("stream", stream=lambda: normal(net=Constant(1), params=ONLY_WIDTH))
    model.unpack_params_hooks = (lambda params: {**params, "stream.phi2.mu": torch.tensor(0.3)},)
    data = phi2_at(*torch.linspace(-1.9, 1.9, 40).tolist())
    some = screened(model, Batch(data), 0.3)
    torch.testing.assert_close(model.ln_joint(model(data), data, some.known), model.ln_joint(model(data), data))


def test_a_component_switched_off_is_not_computed():
    model = switched((0.0, 2.0), (1.0, math.inf))
    data = Data({"phi1": torch.tensor([-1.0, 0.5, 1.5, 3.0]), "phi2": torch.full((4,), 0.5)})
    known = screened(model, Batch(data), 1e-5).known
    assert known.skipped["a"].isnan().tolist() == [False, True, True, False]
    assert torch.equal(model.ln_joint(model(data), data, known), model.ln_joint(model(data), data))
