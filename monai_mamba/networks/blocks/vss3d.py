"""Visual state-space block for volumes: the bottleneck of MedSegMamba."""

from __future__ import annotations

import math

import torch
from monai.networks.blocks import MLPBlock
from monai.networks.layers import DropPath
from torch import nn

from monai_mamba.networks.layers.convolution import DepthwiseConv3d
from monai_mamba.networks.layers.traversal import serpentine_orders
from monai_mamba.ops import cross_selective_scan

__all__ = ["SS3D", "VSSBlock3D", "init_dt_bias", "init_log_a"]

DT_MIN, DT_MAX, DT_FLOOR = 1e-3, 1e-1, 1e-4


def init_dt_bias(*shape: int) -> torch.Tensor:
    """Bias whose softplus is log-uniform in [1e-3, 1e-1]. Source: Mamba, arXiv 2312.00752, section 3.6."""
    dt = torch.exp(torch.rand(*shape) * math.log(DT_MAX / DT_MIN) + math.log(DT_MIN)).clamp(min=DT_FLOOR)
    return dt + torch.log(-torch.expm1(-dt))


def init_log_a(d_state: int, *shape: int) -> torch.Tensor:
    """``log(1), ..., log(d_state)`` on a new last axis ``(*shape, d_state)``. Source: arXiv 2312.00752, section 3.6."""
    return torch.log(torch.arange(1, d_state + 1, dtype=torch.float32)).expand(*shape, d_state).clone()


class SS3D(nn.Module):
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
        super().__init__()
        inner = expand * dim
        self.orientation = orientation
        self.d_state = d_state
        self.dt_rank = math.ceil(dim / 16)
        k, n, r = self.directions, d_state, self.dt_rank
        self.in_proj = nn.Linear(dim, inner, bias=False)
        self.conv = DepthwiseConv3d(inner)
        bound = inner**-0.5  # what nn.Linear(inner, ...) would draw from
        self.x_proj_weight = nn.Parameter(torch.empty(k, r + 2 * n, inner).uniform_(-bound, bound))
        self.dt_proj_weight = nn.Parameter(torch.empty(k, inner, r).uniform_(-(r**-0.5), r**-0.5))
        self.dt_bias = nn.Parameter(init_dt_bias(k, inner))
        self.A_log = nn.Parameter(init_log_a(n, k, inner))
        self.D = nn.Parameter(torch.ones(k, inner))
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, dim, bias=False)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, H, W, D, C) -> (B, H, W, D, C)``."""
        batch, *size, _ = x.shape
        x = self.in_proj(x).movedim(-1, 1)
        x = nn.functional.silu(self.conv(x)).flatten(2).transpose(1, 2)  # (B, L, E)
        params = nn.functional.linear(x, self.x_proj_weight.flatten(0, 1))
        params = params.unflatten(-1, (self.directions, -1)).transpose(1, 2)  # (B, K, L, R + 2N)
        dt, b, c = params.split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        y = cross_selective_scan(
            x,
            dt @ self.dt_proj_weight.transpose(1, 2),
            -torch.exp(self.A_log.float()),
            b,
            c,
            self.D,
            serpentine_orders(size, self.orientation, x),
            delta_bias=self.dt_bias,
            delta_softplus=True,
        )
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
