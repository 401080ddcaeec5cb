"""Tri-oriented Mamba: one gated mixer that scans the tokens of a volume in three orders."""

from __future__ import annotations

import math

import torch
from torch import nn

from monai_mamba.networks.layers.state_space import StateSpaceMixer
from monai_mamba.networks.layers.traversal import tri_oriented_orders


class TriOrientedMamba(StateSpaceMixer):
    """Mamba mixer whose tokens are scanned in raster order, in reverse, and slice by slice, with one gate for the sum.

    Each order has a causal convolution, projections and a scan of its own; the input and output projections and the
    gate are shared. The published code gates every branch before it adds them, which is the same thing. It gives only
    the raster branch Mamba's initial step sizes; here all three have them. Source: SegMamba, arXiv 2401.13560.

    Args:
        dim: channels C of input and output.
        d_state: states N of a channel.
        expand: inner width E as a multiple of ``dim``.
        num_slices: how many equal runs of the token sequence the inter-slice order takes its tokens from in turn; None
            takes the size of the first spatial axis, so that the runs are its slices.
        dropout_rate: dropout after the output projection.
    """

    directions = 3
    conv_width = 4

    def __init__(
        self, dim: int, d_state: int = 16, expand: int = 2, num_slices: int | None = None, dropout_rate: float = 0.0
    ) -> None:
        super().__init__(dim, d_state)
        inner = expand * dim
        wide = self.directions * inner
        self.num_slices = num_slices
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv = nn.Conv1d(wide, wide, self.conv_width, groups=wide)
        self.add_projections(inner)
        self.add_states(inner)
        self.out_proj = nn.Linear(inner, dim, bias=False)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, H, W, D, C) -> (B, H, W, D, C)``.

        Raises:
            ValueError: if ``num_slices`` does not divide the number of voxels.
        """
        batch, *size, _ = x.shape
        length = math.prod(size)
        slices = self.num_slices or size[0]
        orders = tri_oriented_orders(size, x, num_slices=slices)
        inverses = tri_oriented_orders(size, x, num_slices=length // slices)
        x, gate = self.in_proj(x.flatten(1, 3)).chunk(2, dim=-1)  # (B, L, E)

        # The causal convolution runs along the scan, so the sequences are unrolled before it.
        x = torch.cat([x.index_select(1, order) for order in orders], dim=2).transpose(1, 2)
        x = nn.functional.silu(self.conv(nn.functional.pad(x, (self.conv_width - 1, 0))))
        x = x.unflatten(1, (self.directions, -1)).transpose(2, 3)  # (B, K, L, E)
        y = self.scan(x, None, merge=None)
        y = sum(y[:, k].index_select(1, inverse) for k, inverse in enumerate(inverses))
        return self.dropout(self.out_proj(y * nn.functional.silu(gate))).reshape(batch, *size, -1)


class TriOrientedMambaLayer(nn.Module):
    """LayerNorm and `TriOrientedMamba`, with its arguments, and a residual connection, on channels-first features."""

    def __init__(self, dim: int, d_state: int = 16, expand: int = 2, num_slices: int | None = None) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mixer = TriOrientedMamba(dim, d_state, expand, num_slices)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W, D) -> (B, C, H, W, D)``."""
        return x + self.mixer(self.norm(x.movedim(1, -1))).movedim(-1, 1)
