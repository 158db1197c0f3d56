"""Priors of functions along the stream."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn

from stream_mapper.inference.kernels import AMPLITUDES, SCALES, Kernel, candidates, first_of, ln_evidence
from stream_mapper.nn import Constant, on_grid, sequential


def matern(distance, amplitude, scale):
    """The covariance of Matérn for any smoothness, here of 5/2."""
    nu = 2.5
    s = math.sqrt(2 * nu) * np.maximum(distance, 1e-12) / scale
    return amplitude**2 * 2 ** (1 - nu) / special.gamma(nu) * s**nu * special.kv(nu, s)


@pytest.mark.parametrize("scale", [0.02, 0.16, 1.5])
def test_the_covariance_is_that_of_matern_and_a_constant(scale):
    root = Kernel(2.0, 0.7, scale).root(50)
    x = np.linspace(0, 1, 50)
    expected = 4.0 + matern(np.abs(x[:, None] - x), 0.7, scale)
    assert root.dtype == torch.float64
    np.testing.assert_allclose(root @ root.T, expected, atol=5e-5)


def test_a_line_and_a_constant():
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)
    constant, line = Kernel(2.0).root(9), Kernel(2.0, 0.5).root(9)
    torch.testing.assert_close(constant @ constant.T, torch.full((9, 9), 4.0, dtype=torch.float64))
    torch.testing.assert_close(line @ line.T, 4.0 + 0.25 * x[:, None] * x)


@pytest.mark.parametrize("kernel", [Kernel(1.5), Kernel(1.5, 0.5), Kernel(1.5, 0.8, 0.1)])
def test_the_evidence_is_the_marginal_likelihood_of_a_linear_gaussian_problem(kernel):
    rng = np.random.default_rng(0)
    root = kernel.root(30)
    errors = rng.uniform(0.2, 1.0, 30)
    y = rng.normal(0, 1, 30)
    marginal = stats.multivariate_normal(np.zeros(30), (root @ root.T).numpy() + np.diag(errors**2)).logpdf(y)
    without = stats.norm(0, errors).logpdf(y).sum()
    weighted = root.T / torch.tensor(errors**2)
    assert ln_evidence(weighted @ root, weighted @ torch.tensor(y)) == pytest.approx(marginal - without, rel=1e-5)


def test_what_a_network_can_be_says_which_priors_may_hold():
    assert candidates(Constant(2), 2.0, 10.0) == [Kernel(2.0)]
    for line in (nn.Linear(1, 2), sequential(1, 8, 1, 2), on_grid(nn.Linear(1, 2))):
        assert candidates(line, 2.0, 10.0) == [Kernel(2.0, 2.0)]
    free = candidates(sequential(1, 8, 3, 2), 2.0, 10.0)
    assert {(k.amplitude, k.scale) for k in free} == {(a, s) for a in AMPLITUDES for s in SCALES}
    assert {k.scale for k in candidates(on_grid(sequential(1, 8, 3, 2), scale=2.5), 2.0, 10.0)} == {0.25}
    assert first_of(free, 0.1) == Kernel(2.0, 2.0, 0.08)
    assert first_of(candidates(Constant(2), 2.0, 10.0), 0.1) == Kernel(2.0)
