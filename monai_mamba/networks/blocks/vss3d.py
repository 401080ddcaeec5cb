"""Visual state-space block for volumes: the bottleneck of MedSegMamba."""

from __future__ import annotations

import torch
from monai.networks.blocks import MLPBlock
from monai.networks.layers import DropPath
from torch import nn

from monai_mamba.networks.layers.convolution import DepthwiseConv3d
from monai_mamba.networks.layers.state_space import StateSpaceMixer
from monai_mamba.networks.layers.traversal import serpentine_orders


class SS3D(StateSpaceMixer):
    """Selective scan of a volume along the eight serpentine walks of one orientation, summed.

    Linear -> depthwise 3x3x3 convolution -> SiLU -> eight selective scans with parameters of their own -> sum ->
    LayerNorm -> linear; there is no gating branch. Source: MedSegMamba, arXiv 2409.08307, section 2.2.

    Args:
        dim: channels C of input and output.
        orientation: which of the six sets of walks, 0 to 5.
        d_state: states N of a channel.
        expand: inner width E as a multiple of ``dim``.
        dropout_rate: dropout after the output projection.
    """

    directions = 8

    def __init__(
        self, dim: int, orientation: int = 0, d_state: int = 64, expand: int = 1, dropout_rate: float = 0.0
    ) -> None:
        super().__init__(dim, d_state)
        inner = expand * dim
        self.orientation = orientation
        self.in_proj = nn.Linear(dim, inner, bias=False)
        self.conv = DepthwiseConv3d(inner)
        self.add_projections(inner)
        self.add_states(inner)
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, dim, bias=False)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, H, W, D, C) -> (B, H, W, D, C)``."""
        batch, *size, _ = x.shape
        x = self.in_proj(x).movedim(-1, 1)
        x = nn.functional.silu(self.conv(x)).flatten(2).transpose(1, 2)  # (B, L, E)
        y = self.scan(x, serpentine_orders(size, self.orientation, x))
        y = self.out_proj(self.out_norm(y))
        return self.dropout(y).reshape(batch, *size, -1)


class VSSBlock3D(nn.Module):
    """Pre-norm residual block: a token mixer, then an MLP of ratio 1.

    Args:
        dim: channels C.
        mixer: module mapping ``(B, H, W, D, C)`` to the same shape; None leaves the MLP alone.
        dropout_rate: dropout in the MLP.
        drop_path_rate: probability of dropping a residual branch for a sample.
    """

    def __init__(
        self, dim: int, mixer: nn.Module | None, dropout_rate: float = 0.0, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.mixer = mixer
        self.norm1 = nn.LayerNorm(dim) if mixer is not None else None
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLPBlock(dim, dim, dropout_rate)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, H, W, D, C) -> (B, H, W, D, C)``."""
        if self.mixer is not None:
            x = x + self.drop_path(self.mixer(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))
