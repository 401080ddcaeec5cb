"""Self-attention against PyTorch's own module."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_mamba.networks.layers.attention import TokenAttention


def test_attention_equals_multi_head_attention_of_pytorch():
    torch.manual_seed(0)
    attention = TokenAttention(12, num_heads=3).eval()
    reference = nn.MultiheadAttention(12, 3, batch_first=True).eval()
    with torch.no_grad():
        reference.in_proj_weight.copy_(attention.qkv.weight)
        reference.in_proj_bias.zero_()
        reference.out_proj.load_state_dict(attention.out_proj.state_dict())
    x = torch.randn(2, 7, 12)
    torch.testing.assert_close(attention(x), reference(x, x, x)[0], rtol=1e-5, atol=1e-6)


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match="num_heads=3 does not divide the 8 channels"):
        TokenAttention(8, 3)
