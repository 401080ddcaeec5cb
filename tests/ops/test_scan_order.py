"""Volumes read along a scan by index tables, and written back."""

from __future__ import annotations

import pytest
import torch
from scan_problems import Size, cross_problem, scan_inputs

from monai_mamba.ops.scan_order import ScanOrder


@pytest.mark.parametrize("ordered", [True, False])
def test_reading_along_the_scan_and_writing_back(ordered: bool) -> None:
    inputs = scan_inputs(cross_problem(Size(2, 3, 7, 4, 2)))
    inputs = inputs if ordered else inputs._replace(order=None)
    path = ScanOrder(inputs)
    rows = path.read(inputs.delta, 0, 7)
    order = inputs.order if ordered else torch.arange(7).expand(3, 7)
    for k in range(3):
        torch.testing.assert_close(rows[:, :, k], inputs.delta[:, k, order[k]].transpose(0, 1))
    torch.testing.assert_close(path.read(inputs.u, 2, 5)[0, 1, 2], inputs.u[1, 0, order[2, 2]])
    torch.testing.assert_close(path.write(rows), inputs.delta)
    torch.testing.assert_close(path.write_sum(rows), inputs.delta.sum(1))
