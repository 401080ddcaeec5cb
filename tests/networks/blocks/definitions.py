"""What tests of several blocks are defined by."""

from __future__ import annotations

import torch
from torch import nn

from monai_mamba.ops import selective_scan


def scan_direction(mixer: nn.Module, k: int, tokens: torch.Tensor, z: torch.Tensor | None = None) -> torch.Tensor:
    """Scan tokens `(B, E, L)`, in their order, with the parameters that a mixer has for its direction `k`."""
    sizes = [mixer.dt_rank, mixer.d_state, mixer.d_state]
    dt, b, c = torch.split(mixer.x_proj_weight[k] @ tokens, sizes, dim=1)
    return selective_scan(
        tokens,
        mixer.dt_proj_weight[k] @ dt,
        -torch.exp(mixer.A_log[k]),
        b,
        c,
        mixer.D[k],
        z=z,
        delta_bias=mixer.dt_bias[k],
        delta_softplus=True,
    )


def always_drops_in_training_only(block: nn.Module) -> bool:
    """Whether a block of 8 channels with a drop rate of 1 returns its input in training, and not in evaluation."""
    x = torch.randn(2, 2, 2, 2, 8)
    return torch.equal(block.train()(x), x) and not torch.equal(block.eval()(x), x)
