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
        if order is None:
            order = torch.arange(length, device=u.device).expand(directions, length)
        u = u.expand(batch, directions, length, channels)
        direction = torch.arange(directions, device=u.device)

        state = u.new_zeros(batch, directions, channels, A.shape[-1])
        y = u.new_zeros(batch, directions, length, channels)
        for t in range(length):
            token = order[:, t].long()
            delta_t = delta[:, direction, token, :, None]
            input_t = delta_t * B[:, direction, token, None, :] * u[:, direction, token, :, None]
            state = torch.exp(delta_t * A) * state + input_t
            y_t = (state * C[:, direction, token, None, :]).sum(-1)
            y = y.index_put((torch.arange(batch, device=u.device)[:, None], direction, token), y_t)
        return (y.sum(1) if merge else y), state
