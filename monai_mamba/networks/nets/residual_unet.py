"""The residual U-shaped CNN that MedSegMamba and TABSurfer have around their bottlenecks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.layers.utils import get_act_layer, get_norm_layer
from torch import nn

from monai_mamba.networks.blocks.residual_conv import ConvNormAct, ResidualConvBlock
from monai_mamba.networks.layers.convolution import PointwiseConv3d


class ResidualUNetBase(nn.Module):
    """Encoder and decoder of residual blocks; a network makes its bottleneck, then `add_decoder`.

    Every level halves the resolution of the one before. Source: MedSegMamba, arXiv 2409.08307, section 2.1.

    Args:
        in_channels: channels of the first block's input.
        channels: channels of each encoder level, the bottleneck last.
        norm_name: see `ConvNormAct`, as for `act_name`.
        repeats: 3x3x3 convolutions on the main path of every block.
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int], norm_name: tuple | str, act_name: tuple | str, repeats: int
    ) -> None:
        super().__init__()
        *self.levels, self.width = channels
        self.norm_act = norm_name, act_name
        self.repeats = repeats
        self.encoders = nn.ModuleList(
            ResidualConvBlock(i, o, *self.norm_act, repeats) for i, o in pairwise([in_channels, *self.levels])
        )
        self.pool = nn.MaxPool3d(2)
        self.expand = nn.Sequential(
            get_norm_layer(norm_name, spatial_dims=3, channels=self.levels[-1]),
            get_act_layer(act_name),
            nn.Conv3d(self.levels[-1], self.width, 3, padding=1),
        )

    def add_decoder(self, final_channels: int, out_channels: int) -> None:
        """Make the way back: its last block has ``final_channels``, and the head ``out_channels``."""
        self.compress = ConvNormAct(self.width, self.levels[-1], *self.norm_act, repeats=2)
        self.ups = nn.ModuleList()
        self.decoders = nn.ModuleList()
        for deep, shallow in pairwise(self.levels[::-1]):
            self.ups.append(ConvNormAct(deep, shallow, *self.norm_act, upsample=True))
            out = final_channels if len(self.ups) == len(self.levels) - 1 else shallow
            self.decoders.append(ResidualConvBlock(2 * shallow, out, *self.norm_act, self.repeats))
        self.head = PointwiseConv3d(final_channels, out_channels)

    def bottleneck(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W, D) -> (B, C, H, W, D)`` for the last of ``channels``; a network defines it."""
        raise NotImplementedError

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, in_channels, H, W, D) -> (B, final_channels, H, W, D)``, what the head takes."""
        skips = []
        for i, encoder in enumerate(self.encoders):
            x = encoder(x if i == 0 else self.pool(x))
            skips.append(x)
        x = self.expand(skips.pop())
        x = self.compress(self.bottleneck(x))
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            x = torch.cat([skips.pop(), up(x)], dim=1)
            x = decoder(x)
        return x
