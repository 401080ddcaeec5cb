"""The scan in standard operators against the readable one, as Python, as TorchScript and as a loop operator."""

from __future__ import annotations

import itertools
import warnings

import pytest
import torch
from scan_problems import Size, cross_problem, deviation
from torch import Tensor, nn

from monai_mamba.ops.export_scan import scan
from monai_mamba.ops.reference import reference_scan

SIZE = Size(batch=2, directions=3, length=7, channels=5, states=4)


def arguments(size: Size, shared: bool, ordered: bool, bias: bool) -> tuple[Tensor | None, ...]:
    problem = cross_problem(size, shared, skip=bias)
    u = problem["x"].unsqueeze(1) if shared else problem["x"]
    order = problem["order"] if ordered else None
    return (u, *(problem[name] for name in ("delta", "A", "B", "C", "delta_bias")), order)


class Scan(nn.Module):
    def forward(
        self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, order: Tensor
    ) -> tuple[Tensor, Tensor]:
        return scan(u, delta, A, B, C, None, order, True, True)


@pytest.mark.parametrize(("shared", "ordered", "bias", "merge"), list(itertools.product((True, False), repeat=4)))
def test_values_are_those_of_the_reference(shared: bool, ordered: bool, bias: bool, merge: bool) -> None:
    inputs = arguments(SIZE, shared, ordered, bias)
    expected = reference_scan(*inputs, delta_softplus=bias, merge=merge)
    for found, value in zip(scan(*inputs, delta_softplus=bias, merge=merge), expected, strict=True):
        assert found.shape == value.shape
        assert deviation(found, value) < 1e-12


def test_integer_types_of_the_order() -> None:
    *inputs, order = arguments(SIZE, True, True, True)
    expected, _ = scan(*inputs, order, delta_softplus=True, merge=True)
    for dtype in (torch.int32, torch.int16, torch.uint8):
        assert torch.equal(scan(*inputs, order.to(dtype), delta_softplus=True, merge=True)[0], expected)


def test_half_precision_inputs_are_computed_in_float32() -> None:
    inputs = [t.bfloat16() if t is not None and t.is_floating_point() else t for t in arguments(SIZE, True, True, True)]
    y, state = scan(*inputs, delta_softplus=True, merge=True)
    assert y.dtype == state.dtype == torch.float32
    assert deviation(y, reference_scan(*inputs, delta_softplus=True, merge=True)[0]) < 1e-6


def test_a_traced_loop_takes_other_sizes_and_ignores_autocast() -> None:
    def problem(size: Size) -> list[Tensor]:
        inputs = arguments(size, True, True, False)
        return [inputs[i].float() if i < 5 else inputs[i] for i in (0, 1, 2, 3, 4, 6)]

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
