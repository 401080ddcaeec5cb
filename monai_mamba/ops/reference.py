"""The selective scan written down step by step, for reading and for checking the fast implementations.

Shapes used in this package (channels last; a direction is one traversal of the volume, or one B/C group):

| symbol     | shape                      | meaning                                                            |
| ---------- | -------------------------- | ------------------------------------------------------------------ |
| u          | (B, K, L, E), (B, 1, L, E) | input, one per direction or shared by all                          |
| delta      | (B, K, L, E)               | step size, before bias and softplus                                |
| A          | (K, E, N)                  | state matrix, diagonal, negative for a decaying memory             |
| B, C       | (B, K, L, N)               | input and output matrices, one per token                           |
| delta_bias | (K, E)                     | added to delta                                                     |
| order      | (K, L)                     | step t of direction k reads and writes token order[k, t]           |
| state      | (B, K, E, N)               | h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t, h_{-1} = 0         |
| y          | (B, K, L, E), (B, L, E)    | y_t = C_t . h_t, per direction or summed over the directions       |

Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023, equations 1-2 and
algorithm 2 (S6), with the discretization of the published implementation: exp(delta A) for A, delta B for B.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def compute_dtype(u: Tensor) -> torch.dtype:
    """Type of the state and of all sums: float64 for float64 input, float32 for everything else."""
    return torch.float64 if u.dtype == torch.float64 else torch.float32


def reference_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    delta_bias: Tensor | None,
    order: Tensor | None,
    delta_softplus: bool,
    merge: bool,
) -> tuple[Tensor, Tensor]:
    """Selective scan, one token at a time; differentiable by autograd, and slow.

    Args:
        u: (B, K, L, E) or (B, 1, L, E).
        delta: (B, K, L, E).
        A: (K, E, N).
        B: (B, K, L, N).
        C: (B, K, L, N).
        delta_bias: (K, E) or None.
        order: (K, L) integers, a permutation of the tokens per direction, or None for the order they come in.
        delta_softplus: pass delta + delta_bias through softplus.
        merge: sum over the directions.

    Returns:
        y, (B, L, E) if ``merge`` else (B, K, L, E), and the last state, (B, K, E, N), both in the compute type.
    """
    batch, directions, length, channels = delta.shape
    dtype = compute_dtype(u)
    with torch.autocast(u.device.type, enabled=False):
        u, delta, A, B, C = (tensor.to(dtype) for tensor in (u, delta, A, B, C))
        if delta_bias is not None:
            delta = delta + delta_bias.to(dtype)[:, None, :]
        if delta_softplus:
            delta = softplus(delta)
        u = u.expand(batch, directions, length, channels)
        if order is not None:
            direction, order = torch.arange(directions, device=u.device)[:, None], order.long()
            u, delta, B, C = (tensor[:, direction, order] for tensor in (u, delta, B, C))

        state = u.new_zeros(batch, directions, channels, A.shape[-1])
        outputs = []
        for u_t, delta_t, B_t, C_t in zip(*(tensor.unbind(2) for tensor in (u, delta, B, C)), strict=True):
            decay = torch.exp(delta_t[..., None] * A)
            state = decay * state + (delta_t * u_t)[..., None] * B_t[..., None, :]
            outputs.append((state * C_t[..., None, :]).sum(-1))
        y = torch.stack(outputs, dim=2)

        if order is not None:
            y = y[:, direction, order.argsort(dim=1)]
        return (y.sum(1) if merge else y), state
