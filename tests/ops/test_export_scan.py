"""The scan in standard operators against the readable one, as Python, as TorchScript and as a loop operator."""

from __future__ import annotations

import itertools
import warnings

import pytest
import torch
from scan_problems import Size, cross_problem, deviation, scan_inputs
from torch import Tensor, nn

from monai_mamba.ops.export_scan import scan
from monai_mamba.ops.problem import ScanInputs
from monai_mamba.ops.reference import reference_scan

SIZE = Size(batch=2, directions=3, length=7, channels=5, states=4)


def inputs_of(size: Size, shared: bool = True, ordered: bool = True, bias: bool = True) -> ScanInputs:
    problem = cross_problem(size, shared, skip=bias)
    inputs = scan_inputs(problem, softplus=bias)
    return inputs if ordered else inputs._replace(order=None)


class Scan(nn.Module):
    def forward(
        self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, order: Tensor
    ) -> tuple[Tensor, Tensor]:
        return scan(ScanInputs(u, delta, A, B, C, None, order, True, True))


@pytest.mark.parametrize(("shared", "ordered", "bias", "merge"), list(itertools.product((True, False), repeat=4)))
def test_values_are_those_of_the_reference(shared: bool, ordered: bool, bias: bool, merge: bool) -> None:
    inputs = inputs_of(SIZE, shared, ordered, bias)._replace(merge=merge)
    for found, value in zip(scan(inputs), reference_scan(inputs), strict=True):
        assert found.shape == value.shape
        assert deviation(found, value) < 1e-12


def test_integer_types_of_the_order() -> None:
    inputs = inputs_of(SIZE)
    expected, _ = scan(inputs)
    for dtype in (torch.int32, torch.int16, torch.uint8):
        assert torch.equal(scan(inputs._replace(order=inputs.order.to(dtype)))[0], expected)


def test_half_precision_inputs_are_computed_in_float32() -> None:
    inputs = inputs_of(SIZE).to(torch.bfloat16)
    y, state = scan(inputs)
    assert y.dtype == state.dtype == torch.float32
    assert deviation(y, reference_scan(inputs)[0]) < 1e-6


def test_a_traced_loop_takes_other_sizes_and_ignores_autocast() -> None:
    def problem(size: Size) -> list[Tensor]:
        inputs = inputs_of(size, bias=False).to(torch.float32)
        return [*inputs.tensors[:5], inputs.order]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(Scan(), tuple(problem(SIZE)))
    assert str(traced.inlined_graph).count("prim::Loop") == 1
    other = problem(Size(batch=1, directions=3, length=11, channels=5, states=4))
    expected = Scan()(*other)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = traced(*other)
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=0, atol=1e-6)
