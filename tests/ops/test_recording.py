"""Whether operations are written down, and numbers that follow a recorded graph to its device."""

from __future__ import annotations

import torch

from monai_mamba.ops.recording import arange_beside, are_fake, is_recording


class Places(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert is_recording() == (torch.jit.is_tracing() or torch.compiler.is_exporting())
        return arange_beside(x, x.shape[0]) * x


def test_numbers_are_the_same_recorded_or_not_and_take_another_size():
    x = torch.ones(5)
    assert not is_recording()
    assert not are_fake()
    assert arange_beside(x, 4).tolist() == [0, 1, 2, 3]
    traced = torch.jit.trace(Places(), x)
    assert traced(torch.ones(7)).tolist() == list(range(7))
    assert "arange" not in str(traced.graph)  # which would name the device of the trace
