"""Kolmogorov-Arnold layers: rational and spline."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from torch.nn.functional import silu

from monai_mamba.networks.layers.kan import GroupRationalKAN, SplineKAN, SplineLinear


def test_rational_layers_activate_before_they_project():
    torch.manual_seed(0)
    kan = GroupRationalKAN(8, 16)
    first, inner, second, outer = kan
    x = torch.randn(3, 8)
    torch.testing.assert_close(first(x), x)
    hidden = inner(first(x))
    torch.testing.assert_close(second(hidden), silu(hidden), rtol=0, atol=1e-3)
    assert torch.equal(kan(x), outer(second(hidden)))


def test_rational_layers_keep_the_variance_of_normal_inputs():
    torch.manual_seed(0)
    kan = GroupRationalKAN(256, 512)
    first, inner, _, _ = kan
    x = torch.randn(512, 256)
    assert inner(first(x)).var().item() == pytest.approx(1, abs=0.05)
    assert kan(x).var().item() == pytest.approx(1, abs=0.1)


def test_rational_layers_cost_38_numbers_more_than_linear_ones():
    assert sum(p.numel() for p in GroupRationalKAN(16, 32).parameters()) == 2 * 16 * 32 + 16 + 32 + 2 * (6 + 8 * 4)


def test_spline_layer_equals_the_splines_of_scipy():
    torch.manual_seed(0)
    layer = SplineLinear(2, 3).double()
    x = torch.linspace(-8, 8, 201, dtype=torch.float64)[:, None].repeat(1, 2)
    step = 6 / 5
    knots = step * np.arange(-3, 9) - 3
    expected = layer.base(silu(x)).detach().numpy()
    for j in range(8):
        basis = BSpline.basis_element(knots[j : j + 5], extrapolate=False)
        expected += np.nan_to_num(basis(x.numpy())) @ layer.coefficients[..., j].detach().numpy().T
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=0, atol=1e-6)  # centers are float32


def test_spline_layer_has_nine_times_the_parameters_of_a_linear_one():
    assert sum(p.numel() for p in SplineLinear(5, 7).parameters()) == 9 * 5 * 7


def test_spline_layer_learns_a_function_that_is_not_linear():
    torch.manual_seed(0)
    layer = SplineLinear(1, 1)
    x = torch.linspace(-3, 3, 64)[:, None]
    y = (2 * x).sin()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        (layer(x) - y).square().mean().backward()
        optimizer.step()
    assert (layer(x) - y).square().mean() < 0.02  # a line leaves 0.4


@pytest.mark.parametrize("kan", [GroupRationalKAN, SplineKAN])
def test_gradients_reach_every_parameter_under_autocast(kan):
    torch.manual_seed(0)
    layers = kan(8, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layers(100 * torch.randn(5, 8))
    assert y.shape == (5, 8)
    y.float().square().mean().backward()
    for p in layers.parameters():
        assert p.grad.isfinite().all()
        assert p.grad.any()


def test_a_training_step_keeps_no_splines():
    layer = SplineLinear(16, 4)
    x = torch.randn(100, 16)

    def step(training: bool) -> tuple[int, list[torch.Tensor]]:
        kept = []
        leaf = x.clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nelement()) or t, lambda t: t):
            loss = layer.train(training)(leaf).square().sum()
        return sum(kept), list(torch.autograd.grad(loss, [leaf, *layer.parameters()]))

    (lean, found), (full, expected) = step(True), step(False)
    assert lean < full / 5
    for gradient, right in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, right)
