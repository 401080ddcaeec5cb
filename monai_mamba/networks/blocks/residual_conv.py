"""Convolution blocks of the MedSegMamba and TABSurfer families."""

from __future__ import annotations

import torch
from monai.networks.layers.utils import get_act_layer, get_norm_layer
from torch import nn

from monai_mamba.networks.layers.convolution import PointwiseConv3d, UpsampledConv3d


class ConvNormAct(nn.Sequential):
    """3x3x3 convolutions, each followed by normalization and activation: ``(B, C_in, H, W, D) -> (B, C_out, H, W, D)``.

    With ``upsample`` the first one doubles H, W and D.

    Args:
        in_channels: channels of the input.
        out_channels: channels after every convolution.
        norm_name: MONAI normalization, name or ``(name, arguments)``.
        act_name: MONAI activation, name or ``(name, arguments)``.
        repeats: number of convolutions.
        upsample: see above.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm_name: tuple | str,
        act_name: tuple | str,
        repeats: int = 1,
        upsample: bool = False,
    ) -> None:
        layers: list[nn.Module] = []
        for i in range(repeats):
            channels = in_channels if i == 0 else out_channels, out_channels
            layers += [
                UpsampledConv3d(*channels) if upsample and i == 0 else nn.Conv3d(*channels, 3, padding=1),
                get_norm_layer(norm_name, spatial_dims=3, channels=out_channels),
                get_act_layer(act_name),
            ]
        super().__init__(*layers)


class ResidualConvBlock(nn.Module):
    """Convolutions beside a 1x1x1 shortcut; nothing follows the addition. Arguments as in `ConvNormAct`.

    The shortcut is a convolution even where the channels stay the same. MedSegMamba has 2 `repeats`, TABSurfer 1.
    Source: MedSegMamba, arXiv 2409.08307, section 2.1.
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm_name: tuple | str, act_name: tuple | str, repeats: int = 2
    ) -> None:
        super().__init__()
        self.conv = ConvNormAct(in_channels, out_channels, norm_name, act_name, repeats)
        self.shortcut = PointwiseConv3d(in_channels, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, in_channels, H, W, D) -> (B, out_channels, H, W, D)``."""
        # The shortcut comes second, because both are large; the sum has the memory layout of the convolutions.
        return self.conv(x) + self.shortcut(x)
