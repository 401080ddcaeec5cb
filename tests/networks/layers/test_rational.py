"""Rational activations: where they start, what they compute, and how they behave far out."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import silu

from monai_mamba.networks.layers.rational import SWISH_GAIN, RationalActivation


def shaken(channels=6, groups=3):
    """An activation in float64 whose groups differ."""
    torch.manual_seed(0)
    activation = RationalActivation(channels, groups=groups).double()
    with torch.no_grad():
        for p in activation.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return activation


def test_equals_its_definition_group_by_group():
    activation = shaken()
    x = 3 * torch.randn(2, 5, 6, dtype=torch.float64)
    a, b = activation.numerator, activation.denominator
    for channel in range(6):
        t, group = x[..., channel], channel // 2
        p = sum(a[i] * t**i for i in range(6))
        q = sum(b[group, i - 1] * t**i for i in range(1, 5))
        torch.testing.assert_close(activation(x)[..., channel], p / (1 + q.abs()))


def test_starts_as_swish_or_as_the_identity():
    x = torch.linspace(-6, 6, 4001)[:, None]
    torch.testing.assert_close(RationalActivation(1, "swish", groups=1)(x), silu(x), rtol=0, atol=3e-4)
    torch.testing.assert_close(RationalActivation(1, "identity", groups=1)(x), x, rtol=1e-6, atol=1e-6)


def test_swish_scaled_by_its_gain_keeps_the_variance():
    torch.manual_seed(0)
    y = RationalActivation(1, groups=1)(torch.randn(400_000, 1))
    assert (SWISH_GAIN * y.square().mean()).item() == pytest.approx(1, abs=0.02)  # three standard errors: 0.015


def test_gradients_are_those_of_the_function():
    activation = shaken()
    x = (2 * torch.randn(2, 3, 6, dtype=torch.float64)).requires_grad_()

    def function(x, a, b):
        return torch.func.functional_call(activation, {"numerator": a, "denominator": b}, (x,))

    assert torch.autograd.gradcheck(function, (x, activation.numerator, activation.denominator))


@pytest.mark.parametrize("init", ["identity", "swish"])
def test_every_coefficient_learns_from_the_start(init):
    torch.manual_seed(0)
    activation = RationalActivation(16, init)
    activation(torch.randn(7, 16)).square().sum().backward()
    assert activation.numerator.grad.all()
    assert activation.denominator.grad.all()


def test_values_with_and_without_gradient_are_equal():
    activation = RationalActivation(8)
    x = torch.randn(3, 8)
    with torch.no_grad():
        without = activation(x)
    assert torch.equal(activation(x), without)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("init", ["identity", "swish"])
def test_large_inputs_in_half_precision_stay_finite(dtype, init):
    activation = RationalActivation(8, init)
    x = torch.tensor([-1e4, -9.0, 0.0, 9.0, 1e4]).repeat(8, 1).T.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        y = activation(x)
    assert y.dtype == dtype
    exact = activation.double()(x.detach().double())
    torch.testing.assert_close(y.double(), exact, rtol=5e-3, atol=1e-3)  # bfloat16 rounds by up to 3.9e-3
    y.float().sum().backward()
    for gradient in (x.grad, activation.numerator.grad, activation.denominator.grad):
        assert gradient.isfinite().all()


def test_keeps_only_its_input_for_the_backward():
    kept = []
    x = torch.randn(4, 8, dtype=torch.bfloat16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        RationalActivation(8)(x)
    assert [(t.numel(), t.dtype) for t in kept if t.numel() >= x.numel() and t.dtype == x.dtype] == [(32, x.dtype)]
    assert sum(t.numel() for t in kept) == x.numel() + 6 + 8 * 4


def test_a_recorded_graph_holds_no_python():
    activation = RationalActivation(8)
    x = torch.randn(3, 8)
    traced = torch.jit.trace(activation, x, check_trace=False)
    assert "PythonOp" not in str(traced.graph)
    assert "^" not in str(traced.graph)
    torch.testing.assert_close(traced(2 * x), activation(2 * x))


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="groups=8 does not divide the 12 channels"):
        RationalActivation(12)
    with pytest.raises(ValueError, match='init must be "identity" or "swish", got \'gelu\''):
        RationalActivation(8, "gelu")
