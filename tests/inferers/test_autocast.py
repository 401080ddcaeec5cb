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


@pytest.mark.parametrize("shape", [(2, 4, 4), (3, 3, 3)])
def test_kernels_larger_than_the_volume_are_computed_in_float32_on_a_cpu(shape):
    torch.manual_seed(0)
    x, kernel, outputs = torch.randn(1, 8, *shape), torch.randn(8, 8, 3, 3, 3), []

    def network(x: torch.Tensor) -> torch.Tensor:
        outputs.append(nn.functional.conv3d(x, kernel, padding=1))
        return outputs[-1]

    AutocastInferer()(x, network)
    in_float32 = nn.functional.conv3d(x, kernel, padding=1).to(torch.bfloat16)
    assert outputs[0].dtype == torch.bfloat16  # what layers behind it expect
    assert torch.equal(outputs[0], in_float32) == (min(shape) < 3)


@pytest.mark.parametrize("groups", [1, 32])
def test_gradients_over_two_voxels_are_right(groups):
    torch.manual_seed(0)
    layer, x = nn.Conv3d(32, 32, 3, padding=1, groups=groups), torch.randn(2, 32, 2, 2, 2)
    weight = torch.randn(2, 32, 2, 2, 2)
    gradients = []
    for inferer in (AutocastInferer(amp=False), AutocastInferer()):
        layer.zero_grad()
        (inferer(x, layer) * weight).sum().backward()
        gradients.append(layer.weight.grad.clone())
    assert (gradients[1] - gradients[0]).norm() < 0.01 * gradients[0].norm()
