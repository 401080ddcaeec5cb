"""Pointwise, depthwise and upsampled convolutions against PyTorch's own in float64, with gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from monai_mamba.networks.layers.convolution import DepthwiseConv3d, PointwiseConv3d, UpsampledConv3d

SIZES = [(1, 1, 1), (1, 2, 3), (2, 2, 2), (2, 1, 1), (6, 7, 5)]


def results(layer, function, x, weight):
    """Output and gradients of x and all parameters, for a fixed projection of the output."""
    x = x.detach().requires_grad_()
    y = function(x)
    parameters = list(layer.parameters())
    return [y.detach(), *torch.autograd.grad(y, [x, *parameters], weight.to(y.dtype))]


def compare(layer, x, tolerance, autocast=False):
    """Layer against the convolution that it is named after, which gets what a short type leaves of the numbers."""
    if autocast:
        layer.to(torch.bfloat16).float()
        x = x.bfloat16()
    weight = torch.randn(x.shape[0], layer.out_channels, *x.shape[2:]).bfloat16().double()
    exact = copy.deepcopy(layer).double()
    expected = results(exact, lambda x: nn.Conv3d.forward(exact, x), x.double(), weight)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = results(layer, layer, x, weight)
    assert found[0].dtype == x.dtype
    assert [grad.dtype for grad in found[1:]] == [x.dtype, *[torch.float32] * (len(found) - 2)]
    for mine, right in zip(found, expected, strict=True):
        assert mine.shape == right.shape
        assert (mine.double() - right).abs().max() <= tolerance * right.abs().max()


def make(kind, bias):
    torch.manual_seed(0)
    return DepthwiseConv3d(24, bias) if kind == "depthwise" else PointwiseConv3d(24, 7, bias)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("kind", ["depthwise", "pointwise"])
def test_values_and_gradients(kind, autocast, channels_last, size):
    layer = make(kind, bias=not channels_last)
    x = torch.randn(2, *size, 24).movedim(-1, 1) if channels_last else torch.randn(2, 24, *size)
    compare(layer, x, 1e-2 if autocast else 1e-5, autocast)


@pytest.mark.parametrize("kind", ["depthwise", "pointwise"])
def test_without_gradients_the_values_are_the_same(kind):
    layer = make(kind, bias=True)
    x = torch.randn(1, 24, 4, 3, 2)
    with torch.no_grad():
        found = layer(x)
    torch.testing.assert_close(found, layer(x).detach(), rtol=0, atol=1e-6)


def test_input_that_needs_no_gradient():
    layer = make("depthwise", bias=True)
    layer(torch.randn(1, 24, 4, 3, 2)).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_names_of_parameters_are_those_of_pytorch():
    for kind, other in (("depthwise", nn.Conv3d(24, 24, 3, groups=24)), ("pointwise", nn.Conv3d(24, 7, 1))):
        layer = make(kind, bias=True)
        layer.load_state_dict(other.state_dict())
        assert torch.equal(layer.weight, other.weight)


@pytest.mark.parametrize("kind", ["depthwise", "pointwise"])
def test_files_hold_the_convolution_itself(kind):
    layer = make(kind, bias=True)
    program = torch.export.export(layer, (torch.randn(1, 24, 4, 3, 2),))
    assert [node.name for node in program.graph.nodes if node.op == "call_function"] == ["conv3d"]


def test_channels_that_come_last_stay_there():
    x = torch.randn(2, 24, 4, 3, 2).to(memory_format=torch.channels_last_3d)
    assert make("pointwise", bias=True)(x).is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
def test_upsampled_convolution_is_one_of_repeated_voxels(size, channels_last, monkeypatch):
    torch.manual_seed(0)
    layer = UpsampledConv3d(24, 7)
    x = torch.randn(2, 24, *size)
    repeated = x
    for axis in (2, 3, 4):
        repeated = repeated.repeat_interleave(2, axis)
    expected = functional.conv3d(repeated.double(), layer.weight.double(), layer.bias.double(), padding=1).detach()
    if channels_last:
        layer, x = (part.to(memory_format=torch.channels_last_3d) for part in (layer, x))
    torch.testing.assert_close(layer(x).detach().double(), expected, rtol=0, atol=1e-5)
    with torch.no_grad():
        monkeypatch.setattr(functional, "interpolate", None)  # in inference nothing is repeated
        torch.testing.assert_close(layer(x).double(), expected, rtol=0, atol=1e-5)


def test_upsampled_convolution_has_gradients_bfloat16_and_a_form_for_files():
    layer, x = UpsampledConv3d(24, 7), torch.randn(1, 24, 4, 3, 2)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
        program = torch.export.export(layer, (x,))
    nodes = [node.name for node in program.graph.nodes if node.op == "call_function"]
    assert "conv3d" in nodes
    assert "conv_transpose3d" not in nodes
