"""Self-attention over tokens."""

from __future__ import annotations

import torch
from torch import nn


class TokenAttention(nn.Module):
    """Multi-head self-attention; only the output projection has a bias.

    MONAI's ``SABlock`` has the same parameters, but either holds the whole attention matrix in memory or, with flash
    attention, keeps its dropout on at inference; and it needs einops.

    Args:
        dim: channels C, a multiple of ``num_heads``.
        num_heads: number of heads.
        dropout_rate: dropout on the attention weights and on the output.

    Raises:
        ValueError: if ``num_heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int, num_heads: int, dropout_rate: float = 0.0) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide the {dim} channels.")
        self.num_heads = num_heads
        self.dropout_rate = dropout_rate
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out_proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, L, C) -> (B, L, C)``."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        x = nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout_rate if self.training else 0.0)
        return self.dropout(self.out_proj(x.transpose(1, 2).flatten(2)))
