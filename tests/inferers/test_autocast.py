"""Mixed precision inside, float32 outside."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_mamba.inferers.autocast import AutocastInferer


class Scales(nn.Module):
    """Returns its output at two scales, and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> tuple[list[torch.Tensor], dict[str, object]]:
        """What is in which precision is up to autocast."""
        y = self.layer(x)
        assert y.dtype == (torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32)
        return [y, y[:1]], {"feature": y, "number": 3}


def test_every_tensor_of_several_scales_becomes_float32():
    for amp in (True, False):
        (fine, coarse), rest = AutocastInferer(amp=amp)(torch.ones(2, 2), Scales())
        assert fine.dtype == coarse.dtype == rest["feature"].dtype == torch.float32
        assert rest["number"] == 3


@pytest.mark.parametrize(("side", "expected"), [(47, torch.float32), (48, torch.bfloat16)])
def test_small_windows_on_a_cpu_are_computed_in_float32(side, expected):
    found = []

    def network(x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.conv3d(x, torch.ones(1, 1, 1, 1, 1))
        found.append(y.dtype)
        return y

    AutocastInferer()(torch.ones(1, 1, 48, 48, side), network)
    assert found == [expected]
