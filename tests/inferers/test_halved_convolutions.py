"""Two halves of a volume have the values and gradients of the whole."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from monai_mamba.inferers.halved_convolutions import HalvedConvolutions


class _Batches(TorchFunctionMode):
    """Notes the batch size of every convolution that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is functional.conv3d:
            self.sizes.append(len(args[0]))
        return func(*args, **(kwargs or {}))


def _results(volume: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, padding: int) -> list[torch.Tensor]:
    result = functional.conv3d(volume, weight, bias, 1, padding)
    return [result, *torch.autograd.grad(result.square().sum(), (volume, weight, bias))]


@pytest.mark.parametrize(("depth", "width", "padding"), [*itertools.product((4, 5), (1, 3), (0, 1)), (2, 3, 1)])
def test_values_and_gradients_are_those_in_float64(depth, width, padding):
    torch.manual_seed(0)
    tensors = [torch.randn(1, 3, depth, 6, 7), torch.randn(2, 3, width, 3, width), torch.randn(2)]
    expected = _results(*(tensor.double().requires_grad_() for tensor in tensors), padding)
    with _Batches() as batches, HalvedConvolutions():
        found = _results(*(tensor.requires_grad_() for tensor in tensors), padding)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other.float(), rtol=1e-4, atol=1e-3)
    assert batches.sizes == [2]


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 4, 4, 4, 4), {}),
        ((4, 4, 4, 4), {}),
        ((1, 4, 4, 4, 4), {"stride": 2}),
        ((1, 4, 4, 4, 4), {"dilation": (2, 1, 1)}),
        ((1, 4, 4, 4, 4), {"padding": "same"}),
        ((1, 4, 1, 4, 4), {"padding": (1, 1, 1)}),
    ],
)
def test_other_convolutions_are_left_alone(shape, options):
    volume, weight = torch.randn(shape), torch.randn(4, 4, *(3,) * 3)
    options = {"padding": 1} | options
    with _Batches() as batches, HalvedConvolutions():
        found = functional.conv3d(volume, weight, **options)
    assert batches.sizes == [len(volume)]
    assert torch.equal(found, functional.conv3d(volume, weight, **options))


def test_without_gradients_only_small_volumes_are_halved():
    weight = torch.randn(1, 20, 3, 3, 3)
    with torch.no_grad(), _Batches() as batches, HalvedConvolutions():
        for depth in (32, 33):
            functional.conv3d(torch.randn(1, 20, depth, 32, 2), weight, padding=1)
    assert batches.sizes == [2, 1]
