"""Blocks of SegMaFormer: a token mixer, then an MLP that looks around, each with a learned scale."""

from __future__ import annotations

import torch
from torch import nn

from monai_mamba.networks.layers.attention import TokenAttention
from monai_mamba.networks.layers.convolution import DepthwiseConv3d, PointwiseConv3d
from monai_mamba.networks.layers.state_space import StateSpaceMixer


class MambaMixer(StateSpaceMixer):
    """Mamba: one gated causal scan over the voxels in raster order. Source: arXiv 2312.00752, section 3.4.

    Args:
        dim: channels C of input and output.
        d_state: states N of a channel.
        expand: inner width E as a multiple of ``dim``.
        conv_width: width of the causal convolution along the scan.
    """

    def __init__(self, dim: int, d_state: int = 16, expand: int = 2, conv_width: int = 4) -> None:
        super().__init__(dim, d_state)
        inner = expand * dim
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv = nn.Conv1d(inner, inner, conv_width, groups=inner)
        self.x_proj = nn.Linear(inner, self.dt_rank + 2 * d_state, bias=False)
        bound = self.dt_rank**-0.5
        self.dt_proj_weight = nn.Parameter(torch.empty(inner, self.dt_rank).uniform_(-bound, bound))
        self.add_states(inner)
        self.out_proj = nn.Linear(inner, dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, H, W, D, C) -> (B, H, W, D, C)``."""
        size = x.shape[1:4]
        x, gate = self.in_proj(x.flatten(1, 3)).chunk(2, dim=-1)  # (B, L, E)
        x = nn.functional.pad(x.transpose(1, 2), (self.conv.kernel_size[0] - 1, 0))
        x = nn.functional.silu(self.conv(x)).transpose(1, 2)
        y = self.scan(x, None)
        return self.out_proj(y * nn.functional.silu(gate)).unflatten(1, size)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As in `StateSpaceMixer`; its only direction has weights without an axis for directions."""
        dt, b, c = self.x_proj(x).unsqueeze(1).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        return nn.functional.linear(dt, self.dt_proj_weight), b, c


class HybridMixer(nn.Module):
    """Mamba beside a depthwise convolution, weighed against each other by a gate that the features decide.

    Linear of g * global + (1 - g) * local with g = sigmoid(linear of both). Source: SegMaFormer, arXiv 2603.22002, and
    the code of its first author.

    Args:
        dim: channels C.
        scan: module mapping ``(B, H, W, D, C)`` to the same shape; None leaves the convolution alone.
    """

    def __init__(self, dim: int, scan: nn.Module | None) -> None:
        super().__init__()
        self.scan = scan
        self.local = nn.Sequential(
            DepthwiseConv3d(dim, bias=False),
            nn.InstanceNorm3d(dim, affine=True),
            nn.GELU(),
            PointwiseConv3d(dim, dim, bias=False),
        )
        self.gate = nn.Linear(2 * dim, dim) if scan is not None else None
        self.merge = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, H, W, D, C) -> (B, H, W, D, C)``."""
        y = self.local(x.movedim(-1, 1)).movedim(1, -1)
        if self.scan is not None:
            far = self.scan(x)
            y = torch.lerp(y, far, self.gate(torch.cat([far, y], dim=-1)).sigmoid())
        return self.merge(y)


class AttentionMixer(TokenAttention):
    """Self-attention between all voxels of a volume: ``(B, H, W, D, C) -> (B, H, W, D, C)``; see `TokenAttention`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, H, W, D, C) -> (B, H, W, D, C)``."""
        return super().forward(x.flatten(1, 3)).unflatten(1, x.shape[1:4])


class ConvMLP(nn.Module):
    """Linear, depthwise 3x3x3 convolution with instance norm, GELU, linear. Source: SegFormer, arXiv 2105.15203."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, hidden_dim)
        self.conv = DepthwiseConv3d(hidden_dim)
        self.norm = nn.InstanceNorm3d(hidden_dim, affine=True)
        self.linear2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, H, W, D, C) -> (B, H, W, D, C)``."""
        x = self.norm(self.conv(self.linear1(x).movedim(-1, 1)))
        return self.linear2(nn.functional.gelu(x).movedim(1, -1))


class ScaledResidualBlock(nn.Module):
    """Pre-norm residual block of a token mixer and a `ConvMLP`.

    Args:
        dim: channels C.
        mixer: module mapping ``(B, H, W, D, C)`` to the same shape.
        hidden_dim: hidden channels of the MLP.
        layer_scale: initial factor of both branches, learned for every channel; None leaves the factors out.
    """

    def __init__(self, dim: int, mixer: nn.Module, hidden_dim: int, layer_scale: float | None = 1e-4) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = ConvMLP(dim, hidden_dim)
        self.scale1 = self.scale2 = 1.0
        if layer_scale is not None:
            self.scale1 = nn.Parameter(torch.full((dim,), layer_scale))
            self.scale2 = nn.Parameter(torch.full((dim,), layer_scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, H, W, D, C) -> (B, H, W, D, C)``."""
        x = x + self.scale1 * self.mixer(self.norm1(x))
        return x + self.scale2 * self.mlp(self.norm2(x))
