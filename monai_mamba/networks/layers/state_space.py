"""The state space that every Mamba mixer scans its tokens with: initial values, parameters, and the scan."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from monai_mamba.ops import cross_selective_scan

DT_MIN, DT_MAX, DT_FLOOR = 1e-3, 1e-1, 1e-4


def init_dt_bias(*shape: int) -> torch.Tensor:
    """Bias whose softplus is log-uniform in [1e-3, 1e-1]. Source: Mamba, arXiv 2312.00752, section 3.6."""
    dt = torch.exp(torch.rand(*shape) * math.log(DT_MAX / DT_MIN) + math.log(DT_MIN)).clamp(min=DT_FLOOR)
    return dt + torch.log(-torch.expm1(-dt))


def init_log_a(d_state: int, *shape: int) -> torch.Tensor:
    """``log(1), ..., log(d_state)`` on a new last axis ``(*shape, d_state)``. Source: arXiv 2312.00752, section 3.6."""
    return torch.log(torch.arange(1, d_state + 1, dtype=torch.float32)).expand(*shape, d_state).clone()


class StateSpaceMixer(nn.Module):
    """Base of token mixers that scan E channels in K directions, each with parameters of its own.

    A mixer calls `add_projections` and `add_states` when it is made, and `scan` in its forward. Source: Mamba, arXiv
    2312.00752, section 3.

    Args:
        dim: channels C of input and output; the step sizes are projected from C / 16 numbers.
        d_state: states N of a channel.
    """

    directions = 1

    def __init__(self, dim: int, d_state: int) -> None:
        super().__init__()
        self.d_state = d_state
        self.dt_rank = math.ceil(dim / 16)

    def add_projections(self, inner: int) -> None:
        """Make the projections of ``inner`` channels E to step sizes and to input and output matrices."""
        bound, dt_bound = inner**-0.5, self.dt_rank**-0.5  # what nn.Linear would draw from
        shape = (self.directions, self.dt_rank + 2 * self.d_state, inner)
        self.x_proj_weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        shape = (self.directions, inner, self.dt_rank)
        self.dt_proj_weight = nn.Parameter(torch.empty(shape).uniform_(-dt_bound, dt_bound))

    def add_states(self, inner: int) -> None:
        """Make biases of the step sizes, state matrices and skip connections of ``inner`` channels E."""
        self.dt_bias = nn.Parameter(init_dt_bias(self.directions, inner))
        self.A_log = nn.Parameter(init_log_a(self.d_state, self.directions, inner))
        self.D = nn.Parameter(torch.ones(self.directions, inner))

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Step sizes (B, K, L, E), input and output matrices (B, K, L, N) of tokens (B, L, E) or (B, K, L, E)."""
        if x.ndim == 3:
            params = functional.linear(x, self.x_proj_weight.flatten(0, 1))
            params = params.unflatten(-1, (self.directions, -1)).transpose(1, 2)  # (B, K, L, R + 2N)
        else:
            params = x @ self.x_proj_weight.transpose(1, 2)
        dt, b, c = params.split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        return dt @ self.dt_proj_weight.transpose(1, 2), b, c

    def scan(self, x: torch.Tensor, order: torch.Tensor | None, merge: str | None = "sum") -> torch.Tensor:
        """Scan tokens (B, L, E), or (B, K, L, E), one per direction; the rest as in `cross_selective_scan`."""
        delta, b, c = self.project(x)
        a = -torch.exp(self.A_log.float())
        return cross_selective_scan(x, delta, a, b, c, self.D, order, delta_bias=self.dt_bias, merge=merge)
