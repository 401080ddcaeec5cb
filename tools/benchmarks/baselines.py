"""Other ways to compute a selective scan: what there is without this package, to compare it with.

Each takes u (B, K, L, E), delta (B, K, L, E), A (K, E, N), B and C (B, K, L, N) and delta_bias (K, E), and returns
y (B, K, L, E); a direction is a sequence of its own, in scan order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus


def naive_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, delta_bias: Tensor) -> Tensor:
    """Decays and inputs of all tokens at once, channels first, then one token after the other.

    Layout and memory (several arrays of B * K * E * L * N) are those of the reference implementation in mamba-ssm, but
    no operand is repeated, as it is in `repeating_scan`. Gradients come from autograd. Indexing the tokens one by one
    would make the backward quadratic in L, so they are unbound, to be fair.
    """
    dt = softplus(delta + delta_bias[:, None]).transpose(2, 3)  # (B, K, E, L)
    decays = torch.exp(torch.einsum("bkel,ken->bkeln", dt, A))
    inputs = torch.einsum("bkel,bkln->bkeln", dt * u.transpose(2, 3), B)
    state = torch.zeros_like(inputs[:, :, :, 0])
    outputs = []
    for decay, value, row in zip(decays.unbind(3), inputs.unbind(3), C.unbind(2), strict=True):
        state = decay * state + value
        outputs.append(torch.einsum("bken,bkn->bke", state, row))
    return torch.stack(outputs, dim=2)


def repeating_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, delta_bias: Tensor) -> Tensor:
    """`naive_scan` with the operations of mamba-ssm's ``selective_scan_ref`` for several directions (its groups).

    B and C are repeated for every channel, with the tokens last, and the inputs are one product of three operands.
    """
    channels = u.shape[3]
    u, dt = (volume.transpose(2, 3).flatten(1, 2) for volume in (u, softplus(delta + delta_bias[:, None])))
    B, C = (rows.transpose(2, 3).repeat_interleave(channels, dim=1) for rows in (B, C))  # (B, K * E, N, L)
    decays = torch.exp(torch.einsum("bel,en->beln", dt, A.flatten(0, 1)))
    inputs = torch.einsum("bel,benl,bel->beln", dt, B, u)
    state = torch.zeros_like(inputs[:, :, 0])
    outputs = []
    for decay, value, row in zip(decays.unbind(2), inputs.unbind(2), C.unbind(3), strict=True):
        state = decay * state + value
        outputs.append(torch.einsum("ben,ben->be", state, row))
    return torch.stack(outputs, dim=1).unflatten(2, (-1, channels)).transpose(1, 2)


def parallel_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, delta_bias: Tensor, padded: bool = False
) -> Tensor:
    """All tokens at once, in a number of operations that is logarithmic in their number; see `_Recurrence`.

    ``padded`` takes the operations of mamba.py: two products for the inputs, and the recurrence padded.
    """
    dt = softplus(delta + delta_bias[:, None])
    decays = torch.exp(dt[..., None] * A[:, None])  # (B, K, L, E, N)
    rows = B[..., None, :]
    inputs = dt[..., None] * rows * u[..., None] if padded else (dt * u)[..., None] * rows
    states = _Recurrence.apply(decays, inputs, padded)
    return (states @ C[..., None]).squeeze(-1)


class _Recurrence(torch.autograd.Function):
    """h_t = a_t h_{t-1} + x_t along the third axis by a work-efficient parallel prefix.

    Source: Blelloch, "Prefix sums and their applications", 1990, section 1.4 (recurrences). ``padded`` does what
    mamba.py does: a power of two of tokens, a product and a sum for every step, and factors for every token.
    """

    @staticmethod
    def forward(ctx: Any, factors: Tensor, values: Tensor, padded: bool) -> Tensor:
        length = values.shape[2]
        extra = (1 << (length - 1).bit_length()) - length if padded else 0
        states = _pad(values, extra)
        _recur_in_place(_pad(factors, extra), states, reverse=False, padded=padded)
        ctx.save_for_backward(factors, states)
        ctx.padded = padded
        return states[:, :, :length]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        factors, states = ctx.saved_tensors
        length = grad.shape[2]
        extra = states.shape[2] - length
        later = (_pad(factors, extra) if ctx.padded else factors)[:, :, 1:]
        grad_values = _pad(grad, extra)
        _recur_in_place(_pad(later, 1), grad_values, reverse=True, padded=ctx.padded)
        grad_factors = torch.zeros_like(states)
        _add_product(grad_factors[:, :, 1:], grad_values[:, :, 1:], states[:, :, :-1], ctx.padded)
        return grad_factors[:, :, :length], grad_values[:, :, :length], None


def _pad(volume: Tensor, extra: int) -> Tensor:
    """A copy of (B, K, L, E, N) with zeros for so many tokens more."""
    return pad(volume, (0, 0, 0, 0, 0, extra))


def _recur_in_place(factors: Tensor, values: Tensor, reverse: bool, padded: bool) -> None:
    """Make values_t the state after token t (from the last token on if ``reverse``); factors are used up.

    Every second token takes in its predecessor, these are solved as a problem of half the length, and then hand their
    states to the tokens between them.
    """
    length = values.shape[2]
    if length < 2:
        return
    to, by = _neighbors(length % 2 if reverse else 1, length // 2, reverse)
    _add_product(values[:, :, to], factors[:, :, to], values[:, :, by], padded)
    factors[:, :, to].mul_(factors[:, :, by])
    _recur_in_place(factors[:, :, to], values[:, :, to], reverse, padded)
    to, by = _neighbors((length - 1) % 2 if reverse else 2, (length - 1) // 2, reverse)
    _add_product(values[:, :, to], factors[:, :, to], values[:, :, by], padded)
    if padded:
        factors[:, :, to].mul_(factors[:, :, by])


def _add_product(total: Tensor, first: Tensor, second: Tensor, apart: bool) -> None:
    """Add first * second to total, in one operation or in two."""
    if apart:
        total.add_(first * second)
    else:
        total.addcmul_(first, second)


def _neighbors(start: int, count: int, reverse: bool) -> tuple[slice, slice]:
    """So many tokens, every second one from ``start`` on, and the tokens that come before them."""
    shift = 1 if reverse else -1
    return slice(start, start + 2 * count, 2), slice(start + shift, start + shift + 2 * count, 2)
