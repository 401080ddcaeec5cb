"""The blocks of SegMaFormer: Mamba against its definition, the gate, and the branches."""

from __future__ import annotations

import torch
from torch.nn import functional

from monai_mamba.networks.blocks.hybrid_mamba import (
    AttentionMixer,
    ConvMLP,
    HybridMixer,
    MambaMixer,
    ScaledResidualBlock,
)
from monai_mamba.networks.layers.attention import TokenAttention
from monai_mamba.ops import selective_scan


def test_mamba_equals_its_definition():
    torch.manual_seed(0)
    mixer = MambaMixer(6, d_state=3, expand=2, conv_width=3)
    with torch.no_grad():
        mixer.D.normal_()
    x = torch.randn(2, 2, 3, 4, 6)
    u, z = mixer.in_proj(x.reshape(2, 24, 6)).transpose(1, 2).chunk(2, dim=1)
    u = functional.conv1d(u, mixer.conv.weight, mixer.conv.bias, padding=2, groups=12)[..., :24]
    u = functional.silu(u)
    dt, b, c = (mixer.x_proj.weight @ u).split([mixer.dt_rank, 3, 3], dim=1)
    y = selective_scan(
        u,
        mixer.dt_proj_weight @ dt,
        -torch.exp(mixer.A_log[0]),
        b,
        c,
        mixer.D[0],
        z,
        delta_bias=mixer.dt_bias[0],
        delta_softplus=True,
    )
    expected = mixer.out_proj(y.transpose(1, 2)).reshape(x.shape)
    torch.testing.assert_close(mixer(x), expected, rtol=1e-4, atol=1e-5)


def test_mamba_is_causal_in_raster_order():
    torch.manual_seed(0)
    mixer = MambaMixer(6, d_state=2)
    x = torch.randn(1, 2, 2, 3, 6, requires_grad=True)
    mixer(x)[0, 1, 0, 1].sum().backward()
    seen = x.grad.abs().sum(dim=-1).flatten() > 0
    assert seen.tolist() == [True] * 8 + [False] * 4


def test_gate_weighs_near_against_far():
    torch.manual_seed(0)
    mixer = HybridMixer(6, MambaMixer(6, d_state=2))
    x = torch.randn(1, 2, 3, 4, 6)
    far, near = mixer.scan(x), mixer.local(x.movedim(-1, 1)).movedim(1, -1)
    g = torch.sigmoid(mixer.gate(torch.cat([far, near], dim=-1)))
    torch.testing.assert_close(mixer(x), mixer.merge(g * far + (1 - g) * near))
    mixer.scan = None
    torch.testing.assert_close(mixer(x), mixer.merge(near))


def test_attention_is_that_of_the_tokens():
    torch.manual_seed(0)
    mixer = AttentionMixer(8, 2)
    x = torch.randn(2, 2, 3, 4, 8)
    assert torch.equal(mixer(x).flatten(1, 3), TokenAttention.forward(mixer, x.flatten(1, 3)))


def test_mlp_looks_one_voxel_around_and_normalizes_each_channel():
    torch.manual_seed(0)
    mlp = ConvMLP(4, 8)
    x = torch.randn(1, 5, 5, 5, 4)
    hidden = mlp.linear1(x).movedim(-1, 1)
    hidden = functional.conv3d(hidden, mlp.conv.weight, mlp.conv.bias, padding=1, groups=8)
    hidden = functional.gelu(functional.instance_norm(hidden)).movedim(1, -1)
    torch.testing.assert_close(mlp(x), mlp.linear2(hidden), rtol=1e-4, atol=1e-5)


def test_branches_start_with_their_scale():
    torch.manual_seed(0)
    x = torch.randn(1, 2, 3, 4, 8)
    block = ScaledResidualBlock(8, AttentionMixer(8, 2), 16, layer_scale=0.5)
    mixed = x + 0.5 * block.mixer(block.norm1(x))
    torch.testing.assert_close(block(x), mixed + 0.5 * block.mlp(block.norm2(mixed)))
    plain = ScaledResidualBlock(8, AttentionMixer(8, 2), 16, layer_scale=None)
    assert {key for key, _ in block.named_parameters()} - {key for key, _ in plain.named_parameters()} == {
        "scale1",
        "scale2",
    }
