"""Gated spatial convolution of SegMamba."""

from __future__ import annotations

import torch
from torch.nn import functional

from monai_mamba.networks.blocks.gated_spatial_conv import GatedSpatialConv


def test_branches_are_added_as_in_the_published_network():
    torch.manual_seed(0)
    block = GatedSpatialConv(4)
    x = torch.randn(2, 4, 3, 4, 5)

    def step(value, layers):
        conv = layers[0]
        value = functional.conv3d(value, conv.weight, conv.bias, padding=conv.kernel_size[0] // 2)
        return functional.instance_norm(value).relu()

    spatial = step(step(x, block.spatial[0]), block.spatial[1])
    expected = x + step(spatial + step(x, block.pointwise), block.mix)
    torch.testing.assert_close(block(x), expected)
    assert [m.kernel_size[0] for m in block.modules() if isinstance(m, torch.nn.Conv3d)] == [3, 3, 1, 1]
