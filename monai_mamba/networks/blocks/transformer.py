"""Transformer block over the tokens of a volume: the bottleneck of TABSurfer."""

from __future__ import annotations

import torch
from monai.networks.blocks import MLPBlock
from torch import nn

from monai_mamba.networks.layers.attention import TokenAttention


class PreNormTransformerBlock(nn.Module):
    """Pre-norm transformer block: attention, then an MLP of width `mlp_dim`, each with a residual connection.

    `dropout_rate` is that of both branches; the attention branch is dropped out once more as a whole.
    """

    def __init__(self, dim: int, mlp_dim: int, num_heads: int, dropout_rate: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = TokenAttention(dim, num_heads, dropout_rate)
        self.dropout = nn.Dropout(dropout_rate)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLPBlock(dim, mlp_dim, dropout_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, L, C) -> (B, L, C)``."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.mlp(self.norm2(x))
