"""The reference against the recurrence worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from monai_mamba.ops.problem import ScanInputs
from monai_mamba.ops.reference import reference_scan


def test_two_tokens_by_hand() -> None:
    def volume(*values: float) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64).view(1, 1, -1, 1)

    decay = torch.tensor([[[-0.5]]], dtype=torch.float64)
    order = torch.tensor([[1, 0]])  # the second token first
    inputs = ScanInputs(volume(2, 3), volume(1, 2), decay, volume(5, 7), volume(11, 13), None, order, False, False)
    first = 2 * 3 * 7
    last = math.exp(-0.5) * first + 1 * 2 * 5
    y, state = reference_scan(inputs)
    assert y.flatten().tolist() == pytest.approx([11 * last, 13 * first])
    assert state.item() == pytest.approx(last)
