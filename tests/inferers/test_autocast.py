"""Mixed precision inside, float32 outside."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_mamba.inferers import autocast
from monai_mamba.inferers.autocast import AutocastInferer, has_native_bfloat16
from monai_mamba.networks.layers.convolution import DepthwiseConv3d

pytestmark = pytest.mark.usefixtures("bfloat16")


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


def _in_float32(x: torch.Tensor) -> torch.Tensor:
    assert not torch.is_autocast_enabled("cpu")
    return x


def test_where_the_processor_does_not_compute_in_bfloat16_it_is_not_used(monkeypatch):
    monkeypatch.setattr(autocast, "has_native_bfloat16", lambda _: False)
    AutocastInferer()(torch.ones(2, 2), _in_float32)


@pytest.mark.parametrize(("avx512", "bfloat16", "native"), [(1, 1, True), (1, 0, False), (0, 0, True)])
def test_avx512_alone_only_emulates_bfloat16(monkeypatch, avx512, bfloat16, native):
    """oneDNN supports it there, too, and takes twice as long as for float32."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bfloat16)
    assert has_native_bfloat16(torch.device("cpu")) == native


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


def test_convolutions_may_be_called_by_name_and_without_a_batch():
    x, kernel = torch.randn(4, 2, 2, 2), torch.randn(4, 4, 3, 3, 3)
    result = AutocastInferer()(x[None], lambda x: nn.functional.conv3d(input=x[0], weight=kernel, padding=1))
    torch.testing.assert_close(result, nn.functional.conv3d(x, kernel, padding=1), rtol=0.01, atol=0.05)


def test_where_a_network_switches_autocast_off_it_stays_off():
    def network(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            y = nn.functional.conv3d(x, torch.ones(1, 1, 3, 3, 3), padding=1)
        assert y.dtype == torch.float32
        return y

    AutocastInferer()(torch.ones(1, 1, 2, 2, 2), network)


@pytest.mark.parametrize("layer", [nn.Conv3d(32, 32, 3, padding=1), DepthwiseConv3d(32)], ids=["dense", "depthwise"])
@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 1, 1), (2, 4, 4)])
def test_gradients_over_few_voxels_are_right_each_time(layer, shape):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 32, *shape), torch.randn(2, 32, *shape)
    gradients = []
    for inferer in (AutocastInferer(amp=False), *[AutocastInferer()] * 5):  # what was wrong differed each time
        layer.zero_grad()
        (inferer(x, layer) * weight).sum().backward()
        gradients.append(layer.weight.grad.clone())
    for gradient in gradients[1:]:
        assert (gradient - gradients[0]).norm() < 0.02 * gradients[0].norm()


def test_gradients_of_layer_normalization_are_right_over_many_tokens():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16))
    x, weight = torch.randn(1, 6144, 16), torch.randn(1, 6144, 16) + 0.5
    gradients = []
    for amp in (True, False):
        network.zero_grad()
        (AutocastInferer(amp)(x, network) * weight).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in network[1].parameters()])
    for found, right in zip(*gradients, strict=True):  # in bfloat16, 8 to 66 % are lost
        assert not torch.equal(found, right)
        assert (found - right).norm() < 0.02 * right.norm()
