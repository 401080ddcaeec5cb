"""Gated spatial convolution of SegMamba, a convolutional look around before tokens are scanned."""

from __future__ import annotations

import torch
from torch import nn


def _conv_norm_relu(channels: int, kernel_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(channels, channels, kernel_size, padding=kernel_size // 2), nn.InstanceNorm3d(channels), nn.ReLU()
    )


class GatedSpatialConv(nn.Module):
    """Two 3x3x3 convolutions beside one 1x1x1 convolution, summed, mixed and added to the input; all of `channels`.

    The name is the paper's: it describes the product of the two branches (SegMamba, arXiv 2401.13560). The published
    network and its weights use their sum, and so does this one.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Sequential(_conv_norm_relu(channels, 3), _conv_norm_relu(channels, 3))
        self.pointwise = _conv_norm_relu(channels, 1)
        self.mix = _conv_norm_relu(channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(B, C, H, W, D)` to the same shape."""
        return x + self.mix(self.spatial(x) + self.pointwise(x))
