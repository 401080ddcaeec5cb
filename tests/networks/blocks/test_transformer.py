"""The transformer block: its branches and its dropout."""

from __future__ import annotations

import torch

from monai_mamba.networks.blocks.transformer import PreNormTransformerBlock


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    block = PreNormTransformerBlock(8, 16, 2, dropout_rate=0.5)
    x = torch.randn(1, 5, 8)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


def test_block_adds_attention_then_mlp():
    torch.manual_seed(0)
    block = PreNormTransformerBlock(8, 16, 2)
    x = torch.randn(1, 5, 8)
    attended = x + block.attention(block.norm1(x))
    assert torch.equal(block(x), attended + block.mlp(block.norm2(attended)))
    assert block.mlp.linear1.out_features == 16
