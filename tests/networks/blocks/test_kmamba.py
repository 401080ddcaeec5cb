"""The bidirectional mixer against its definition, and the block around it."""

from __future__ import annotations

import pytest
import torch
from definitions import always_drops_in_training_only, scan_direction
from torch.nn import functional

from monai_mamba.networks.blocks.kmamba import BidirectionalSpatialMixer, KMambaBlock
from monai_mamba.networks.layers.traversal import serpentine_order


def by_definition(mixer, x, fast):
    """Unroll, scan and put back the walk and its reverse on their own."""
    size = x.shape[1:4]
    u, gate = functional.linear(x, mixer.in_proj.weight).chunk(2, dim=-1)
    u = functional.conv3d(u.movedim(-1, 1), mixer.conv.weight, mixer.conv.bias, padding=1, groups=u.shape[-1])
    u = functional.silu(u).flatten(2)
    walk = serpentine_order(size, fast, (0, 0, 0), torch.empty(0))
    results = []
    for k, order in enumerate((walk, walk.flip(0))):
        y = torch.empty_like(u)
        y[:, :, order] = scan_direction(mixer, k, u[:, :, order])
        results.append(y.transpose(1, 2))
    g = torch.sigmoid(mixer.fusion(torch.cat(results, dim=-1)))
    y = mixer.out_norm(g * results[0] + (1 - g) * results[1]).reshape(gate.shape)
    return functional.linear(y * functional.silu(gate), mixer.out_proj.weight)


@pytest.mark.parametrize(("walk", "fast"), [(0, (2, 1, 0)), (1, (1, 2, 0)), (2, (0, 1, 2)), (3, (2, 1, 0))])
def test_equals_its_definition_on_a_box(walk, fast):
    torch.manual_seed(walk)
    mixer = BidirectionalSpatialMixer(6, walk, d_state=3)
    with torch.no_grad():
        mixer.D.normal_()
    x = torch.randn(2, 2, 3, 4, 6)
    torch.testing.assert_close(mixer(x), by_definition(mixer, x, fast), rtol=1e-4, atol=1e-5)


def test_every_voxel_sees_all_others():
    torch.manual_seed(0)
    mixer = BidirectionalSpatialMixer(8, d_state=2)
    x = torch.randn(1, 4, 4, 4, 8, requires_grad=True)
    mixer(x)[0, 2, 1, 2].sum().backward()
    assert x.grad.abs().sum(dim=-1).all()


@pytest.mark.parametrize("kan", ["rational", "spline", None])
def test_block_adds_mixer_then_channel_mixing(kan):
    torch.manual_seed(0)
    block = KMambaBlock(8, BidirectionalSpatialMixer(8, d_state=2), kan)
    x = torch.randn(1, 2, 3, 4, 8)
    mixed = x + block.mixer(block.mixer_norm(x))
    assert torch.equal(block(x), mixed + block.mixing(block.mixing_norm(mixed)))


def test_block_without_mixer_keeps_only_the_channel_mixing():
    torch.manual_seed(0)
    block = KMambaBlock(8, None)
    x = torch.randn(1, 2, 3, 4, 8)
    assert torch.equal(block(x), x + block.mixing(block.mixing_norm(x)))


def test_drop_path_drops_whole_branches_in_training_only():
    torch.manual_seed(0)
    block = KMambaBlock(8, BidirectionalSpatialMixer(8, d_state=2), drop_path_rate=1.0)
    assert always_drops_in_training_only(block)
