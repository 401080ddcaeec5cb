"""The check of compiled implementations: it accepts PyTorch's results and notices each that is off."""

from __future__ import annotations

import math

import pytest
import torch

from monai_mamba.ops import torch_scan
from monai_mamba.ops.problem import Gradients, ResultGradients, Results, ScanInputs
from monai_mamba.ops.self_check import TOLERANCE, as_in_networks, largest_error, waves

CPU = torch.device("cpu")
RESULTS = ("y", "last state", "u", "delta", "A", "B", "C", "delta_bias")


def error_where(wrong: str, factor: float, state_gradient: bool = True) -> float:
    """Error of plain PyTorch with one result changed."""

    def change(names: tuple[str, ...], values: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(v * factor if name == wrong else v for name, v in zip(names, values, strict=True))

    def forward(inputs: ScanInputs, save: bool) -> Results:
        return change(("y", "last state", "saved"), torch_scan.forward(inputs, save))

    def backward(grads: ResultGradients, saved: torch.Tensor, inputs: ScanInputs) -> Gradients:
        return change(RESULTS[2:], torch_scan.backward(grads, saved, inputs))

    return largest_error(forward, backward, [(waves(CPU, torch.float32, (1, 2, 19, 5, 3)), state_gradient)])


@pytest.mark.parametrize("state_gradient", [True, False])
def test_right_results_pass(state_gradient: bool) -> None:
    assert error_where("none", 1.0, state_gradient) <= 1e-6


@pytest.mark.parametrize("wrong", RESULTS)
def test_every_wrong_result_is_noticed(wrong: str) -> None:
    assert error_where(wrong, 1.001) > TOLERANCE
    assert math.isnan(error_where(wrong, math.nan))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scans_are_what_they_say(dtype: torch.dtype) -> None:
    plain, packed = waves(CPU, dtype, (2, 3, 11, 5, 4), plain=True), as_in_networks(CPU, dtype, 4, 11)
    assert (plain.order, plain.delta_bias, plain.merge, plain.u.shape) == (None, None, False, (2, 3, 11, 5))
    assert packed.order.sort().values.tolist() == [list(range(11))] * 2
    assert not any(packed[i].is_contiguous() for i in (0, 3, 4))
    scans = [(plain, True), (packed, False)]
    assert largest_error(torch_scan.forward, torch_scan.backward, scans) <= 1e-6
