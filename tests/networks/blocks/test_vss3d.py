"""SS3D against its definition, and the block around it."""

from __future__ import annotations

import pytest
import torch
from definitions import always_drops_in_training_only, scan_direction
from torch.nn import functional

from monai_mamba.networks.blocks.vss3d import SS3D, VSSBlock3D
from monai_mamba.networks.layers.traversal import serpentine_orders


def by_definition(mixer, x):
    """Unroll, scan and put back each of the eight sequences on its own."""
    size = x.shape[1:4]
    u = functional.linear(x, mixer.in_proj.weight).permute(0, 4, 1, 2, 3)
    u = functional.silu(functional.conv3d(u, mixer.conv.weight, mixer.conv.bias, padding=1, groups=u.shape[1])).flatten(
        2
    )
    total = torch.zeros_like(u)
    for k, order in enumerate(serpentine_orders(size, mixer.orientation, x)):
        total[:, :, order] += scan_direction(mixer, k, u[:, :, order])
    y = functional.layer_norm(total.transpose(1, 2), total.shape[1:2], mixer.out_norm.weight, mixer.out_norm.bias)
    return functional.linear(y, mixer.out_proj.weight).reshape(x.shape)


@pytest.mark.parametrize("orientation", range(6))
def test_equals_its_definition_on_a_box(orientation):
    torch.manual_seed(orientation)
    mixer = SS3D(6, orientation, d_state=3, expand=2)
    with torch.no_grad():
        mixer.D.normal_()
    x = torch.randn(2, 2, 3, 4, 6)
    torch.testing.assert_close(mixer(x), by_definition(mixer, x), rtol=1e-4, atol=1e-5)


def test_block_without_mixer_keeps_only_the_mlp():
    torch.manual_seed(0)
    block = VSSBlock3D(8, None)
    x = torch.randn(1, 2, 3, 4, 8)
    assert torch.equal(block(x), x + block.mlp(block.norm2(x)))


def test_block_adds_mixer_then_mlp():
    torch.manual_seed(0)
    block = VSSBlock3D(8, SS3D(8, d_state=2))
    x = torch.randn(1, 2, 3, 4, 8)
    mixed = x + block.mixer(block.norm1(x))
    assert torch.equal(block(x), mixed + block.mlp(block.norm2(mixed)))


def test_drop_path_drops_whole_branches_in_training_only():
    torch.manual_seed(0)
    assert always_drops_in_training_only(VSSBlock3D(8, SS3D(8, d_state=2), drop_path_rate=1.0))
