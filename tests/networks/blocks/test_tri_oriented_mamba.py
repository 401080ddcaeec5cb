"""Tri-oriented Mamba against its definition, branch by branch."""

from __future__ import annotations

import pytest
import torch
from definitions import scan_direction
from torch.nn import functional

from monai_mamba.networks.blocks.tri_oriented_mamba import TriOrientedMamba, TriOrientedMambaLayer


def by_definition(mixer, x, num_slices):
    """Gate, scan and put back every branch on its own, then add them, as the published code does."""
    batch, *size, channels = x.shape
    tokens = x.reshape(batch, -1, channels)
    length = tokens.shape[1]
    u, z = functional.linear(tokens, mixer.in_proj.weight).transpose(1, 2).chunk(2, dim=1)  # (B, E, L)
    inner, run = u.shape[1], length // num_slices
    interleave = [s * run + p for p in range(run) for s in range(num_slices)]
    total = 0
    for k, order in enumerate([list(range(length)), list(range(length))[::-1], interleave]):
        sequence, gate = u[:, :, order], z[:, :, order]
        channels_k = slice(k * inner, (k + 1) * inner)
        convolved = functional.conv1d(
            sequence, mixer.conv.weight[channels_k], mixer.conv.bias[channels_k], padding=3, groups=inner
        )[..., :length]
        y = scan_direction(mixer, k, functional.silu(convolved), gate)
        restored = torch.empty_like(y)
        restored[:, :, order] = y
        total = total + restored
    return functional.linear(total.transpose(1, 2), mixer.out_proj.weight).reshape(batch, *size, -1)


@pytest.mark.parametrize(("num_slices", "effective"), [(None, 2), (6, 6), (24, 24)])
def test_equals_its_definition(num_slices, effective):
    torch.manual_seed(0)
    mixer = TriOrientedMamba(6, d_state=3, num_slices=num_slices)
    with torch.no_grad():
        mixer.D.normal_()
    x = torch.randn(2, 2, 3, 4, 6)
    torch.testing.assert_close(mixer(x), by_definition(mixer, x, effective), rtol=1e-5, atol=1e-6)


def test_all_three_branches_start_with_mambas_step_sizes():
    torch.manual_seed(0)
    dt = functional.softplus(TriOrientedMamba(64).dt_bias)
    assert dt.shape == (3, 128)
    for branch in dt:
        assert 1e-3 * 0.99 < branch.min() < 1e-2
        assert 1e-2 < branch.max() < 1e-1 * 1.01


def test_slices_that_do_not_divide_the_grid_are_refused():
    with pytest.raises(ValueError, match="num_slices=5 does not divide the 24 voxels"):
        TriOrientedMamba(4, d_state=2, num_slices=5)(torch.zeros(1, 2, 3, 4, 4))


def test_layer_is_residual_and_normalizes_channels():
    torch.manual_seed(0)
    layer = TriOrientedMambaLayer(6, d_state=2)
    x = torch.randn(1, 6, 2, 3, 4)
    branch = layer(x) - x
    torch.testing.assert_close(layer(10 * x + 3) - (10 * x + 3), branch, rtol=1e-3, atol=1e-4)
    torch.nn.init.zeros_(layer.mixer.out_proj.weight)
    assert torch.equal(layer(x), x)
