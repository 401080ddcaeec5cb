"""SegMamba: a convolutional U-Net whose encoder stages scan their tokens in three orders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from monai.networks.blocks import UnetrBasicBlock, UnetrUpBlock
from torch import nn

from monai_mamba.networks.blocks.gated_spatial_conv import GatedSpatialConv
from monai_mamba.networks.blocks.tri_oriented_mamba import TriOrientedMambaLayer
from monai_mamba.networks.layers.convolution import PointwiseConv3d
from monai_mamba.networks.layers.input_size import check_arguments, check_spatial_size


def _residual_block(in_channels: int, out_channels: int) -> UnetrBasicBlock:
    return UnetrBasicBlock(3, in_channels, out_channels, kernel_size=3, stride=1, norm_name="instance", res_block=True)


class SegMamba(nn.Module):
    """SegMamba (Xing et al., arXiv 2401.13560), the network of the published code, for any box that 16 divides.

    An encoder of four stages works at 1/2, 1/4, 1/8 and 1/16 of the resolution. A stage is one gated spatial
    convolution and then layers of tri-oriented Mamba. Each stage is tapped (instance norm and a channel MLP) for a
    UNETR-style decoder, which also sees the image itself. The defaults have 67,416,196 parameters.

    The published code and its paper differ: the gated convolution adds where the paper multiplies, and the paper's
    feature-level uncertainty estimation is absent. This class follows the code, for whose weights there is a converter.

    Args:
        spatial_dims: 3; there for MONAI's conventions.
        in_channels: image channels, one per modality.
        out_channels: classes, background included.
        channels: channels of the four stages, then of the deepest feature between encoder and decoder.
        depths: Mamba layers of each stage.
        d_state: states of a channel in the selective scan.
        expand: inner width of the scan as a multiple of the stage's channels.
        num_slices: per stage, the number of equal runs that the inter-slice scan takes its tokens from in turn. None
            takes the size of the stage's first axis; the fixed 64, 32, 16, 8 of the published code are the same for 128
            voxels.
        mixer: ``"tri_oriented"``, or None for the same network without its Mamba layers.

    Raises:
        ValueError: if ``spatial_dims`` is not 3, ``mixer`` is unknown, a sequence has the wrong length, or (in forward)
            a size is not a multiple of ``stride`` or all three equal it.
    """

    stride = 16  # the stem by 2, then three times by 2
    normalizes = True

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 4,
        out_channels: int = 4,
        channels: Sequence[int] = (48, 96, 192, 384, 768),
        depths: Sequence[int] = (2, 2, 2, 2),
        d_state: int = 16,
        expand: int = 2,
        num_slices: Sequence[int] | None = None,
        mixer: str | None = "tri_oriented",
    ) -> None:
        super().__init__()
        slices = num_slices or (None,) * 4
        lengths = {"channels": (channels, 5), "depths": (depths, 4), "num_slices": (slices, 4)}
        check_arguments(self, spatial_dims, mixer, ("tri_oriented",), **lengths)
        *stages, width = channels

        self.downsamples = nn.ModuleList([nn.Conv3d(in_channels, stages[0], 7, stride=2, padding=3)])
        for shallow, deep in pairwise(stages):
            self.downsamples.append(nn.Sequential(nn.InstanceNorm3d(shallow), nn.Conv3d(shallow, deep, 2, stride=2)))
        self.gated_convs = nn.ModuleList(GatedSpatialConv(c) for c in stages)
        self.mamba_layers = nn.ModuleList()
        for c, depth, n in zip(stages, depths, slices, strict=True):
            layers = [TriOrientedMambaLayer(c, d_state, expand, n) for _ in range(depth)] if mixer else []
            self.mamba_layers.append(nn.Sequential(*layers))
        self.taps = nn.ModuleList(
            nn.Sequential(nn.InstanceNorm3d(c), PointwiseConv3d(c, 2 * c), nn.GELU(), PointwiseConv3d(2 * c, c))
            for c in stages
        )

        # The image and the four taps each pass a residual block before they meet in the decoder.
        self.encoders = nn.ModuleList(
            _residual_block(i, o) for i, o in zip([in_channels, *stages], [*stages, width], strict=True)
        )
        self.ups = nn.ModuleList(
            UnetrUpBlock(3, deep, shallow, kernel_size=3, upsample_kernel_size=2, norm_name="instance", res_block=True)
            for shallow, deep in reversed(list(pairwise(channels)))
        )
        self.final = _residual_block(stages[0], stages[0])
        self.head = PointwiseConv3d(stages[0], out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, out_channels, H, W, D)`` of ``(B, in_channels, H, W, D)``, multiples of ``self.stride``."""
        check_spatial_size(x, self)
        skips = [self.encoders[0](x)]
        for stage, downsample in enumerate(self.downsamples):
            x = self.mamba_layers[stage](self.gated_convs[stage](downsample(x)))
            skips.append(self.encoders[stage + 1](self.taps[stage](x)))
        x = skips.pop()
        for up in self.ups:
            x = up(x, skips.pop())
        return self.head(self.final(x))


def segmamba_small(in_channels: int = 4, out_channels: int = 4, **kwargs: Any) -> SegMamba:
    """A small SegMamba; other arguments as in :class:`SegMamba`."""
    numbers = {"channels": (16, 32, 64, 128, 192), "depths": (1, 1, 2, 2)}
    return SegMamba(in_channels=in_channels, out_channels=out_channels, **{**numbers, **kwargs})
