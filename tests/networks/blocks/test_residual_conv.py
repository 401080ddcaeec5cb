"""Convolution blocks shared by MedSegMamba and TABSurfer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_mamba.networks.blocks.residual_conv import ConvNormAct, ResidualConvBlock
from monai_mamba.networks.layers.convolution import UpsampledConv3d

NORM, ACT = ("GROUP", {"num_groups": 2}), "RELU"


@pytest.mark.parametrize("repeats", [1, 2])
def test_each_convolution_is_followed_by_norm_and_activation(repeats):
    layers = ConvNormAct(3, 4, NORM, ACT, repeats)
    assert [type(layer) for layer in layers] == [nn.Conv3d, nn.GroupNorm, nn.ReLU] * repeats
    assert layers(torch.randn(1, 3, 2, 3, 4)).shape == (1, 4, 2, 3, 4)


def test_the_first_convolution_upsamples():
    layers = ConvNormAct(3, 4, NORM, ACT, repeats=2, upsample=True)
    assert [type(layer) for layer in layers if isinstance(layer, nn.Conv3d)] == [UpsampledConv3d, nn.Conv3d]
    assert layers(torch.randn(1, 3, 2, 3, 4)).shape == (1, 4, 4, 6, 8)


def test_features_keep_the_layout_of_the_weights():
    x = torch.randn(2, 4, 3, 4, 5)
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        block = ResidualConvBlock(4, 4, NORM, ACT).to(memory_format=layout)
        assert block(x).is_contiguous(memory_format=layout)


def test_shortcut_is_a_convolution_and_nothing_follows_the_sum():
    torch.manual_seed(0)
    block = ResidualConvBlock(4, 4, NORM, ACT)
    x = torch.randn(1, 4, 3, 4, 5)
    main = x
    for layer in block.conv:
        main = layer(main)
    expected = nn.functional.conv3d(x, block.shortcut.weight, block.shortcut.bias) + main
    torch.testing.assert_close(block(x), expected)
    assert (block(x) < 0).any()
