"""The selective scan in plain PyTorch: nothing to compile, any device, with its own backward.

Everything that does not depend on the previous token (decay, input, output, all reductions of the backward) is
computed for a chunk of tokens at once; the recurrence itself is one in-place operation per token. Chunks are small
enough to stay in the cache. Channels are innermost, so each operation runs over long contiguous rows. exp is computed
as exp2 with log2(e) folded into A, which is several times faster than exp on some CPUs and never slower.

The backward needs the states again. Where all of them fit into a modest buffer the forward keeps them; otherwise it
keeps one state per interval of tokens and the backward recomputes an interval at a time, a block of channels at a time.

Shapes are those of `reference`; inside, tokens come first: (T, B, K, E), (T, B, K, N), states (T, B, K, N, E).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .recurrence import recur
from .reference import compute_dtype
from .traversal import Traversal

LOG2_E = math.log2(math.e)
ARRAY_ELEMENTS = 1 << 19  # of one working array: a few times 2 MiB of float32 stay in a processor's cache
ARRAY_ELEMENTS_ACCELERATOR = 1 << 24  # larger where every operation means launching a kernel
INTERVAL = 32  # tokens between two kept states, at least
MIN_WIDTH = 64  # channels computed at once, at least: shorter rows are slow
KEEP_ALL_ELEMENTS = 15 << 19  # keep every state up to this size (30 MiB): larger buffers cost more in page faults


class Plan(NamedTuple):
    """How a problem is cut up; a function of shape and device alone, so that forward and backward agree.

    Attributes:
        chunk: tokens computed at once.
        interval: tokens whose inputs are gathered at once; also the distance of kept states if not ``keep_all``.
        keep_all: the forward keeps every state.
        width: channels of one direction computed at once in the recomputing backward.
    """

    chunk: int
    interval: int
    keep_all: bool
    width: int


def plan_scan(delta: Tensor, states: int) -> Plan:
    """Cut a problem with step sizes delta, (B, K, L, E), and N states into chunks and intervals."""
    batch, directions, length, channels = delta.shape
    size = batch * directions * channels * states
    elements = ARRAY_ELEMENTS if delta.device.type == "cpu" else ARRAY_ELEMENTS_ACCELERATOR
    chunk = min(max(elements // size, 1), length)
    interval = min(max(chunk, INTERVAL), length)
    width = min(max(elements // (interval * batch * states), MIN_WIDTH), channels)
    return Plan(chunk, interval, size * length <= KEEP_ALL_ELEMENTS, width)


def saved_shape(delta: Tensor, states: int) -> tuple[int, ...]:
    """Shape of the states which the forward keeps for the backward; delta: (B, K, L, E)."""
    batch, directions, length, channels = delta.shape
    plan = plan_scan(delta, states)
    count = length if plan.keep_all else -(-length // plan.interval)
    return (count, batch, directions, states, channels)


def read_delta(path: Traversal, delta: Tensor, delta_bias: Tensor | None, start: int, stop: int) -> Tensor:
    """Delta with its bias, before softplus, (T, B, K, E), of steps start..stop."""
    rows = path.read(delta, start, stop)
    return rows if delta_bias is None else rows + delta_bias.to(rows.dtype)


def decay(dt: Tensor, A2: Tensor, out: Tensor | None = None) -> Tensor:
    """exp2(dt A2), (T, B, K, N, E), of step sizes (T, B, K, E) and A2 = A log2(e), (K, N, E)."""
    return torch.mul(dt.unsqueeze(-2), A2, out=out).exp2_()


def contract(rows: Tensor, states: Tensor) -> Tensor:
    """Row vectors (T, B, K, N) times states (T, B, K, N, E): (T, B, K, E)."""
    n, e = states.shape[-2:]
    return torch.bmm(rows.reshape(-1, 1, n), states.reshape(-1, n, e)).view(*states.shape[:3], e)


def contract_channels(rows: Tensor, states: Tensor) -> Tensor:
    """Row vectors (T, B, K, E) times transposed states (T, B, K, N, E): (T, B, K, N)."""
    n, e = states.shape[-2:]
    return torch.bmm(rows.reshape(-1, 1, e), states.reshape(-1, n, e).transpose(1, 2)).view(*states.shape[:3], n)


def forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    delta_bias: Tensor | None,
    order: Tensor | None,
    delta_softplus: bool,
    merge: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Forward of the scan; arguments as in `reference.reference_scan`.

    Returns:
        y, the last state, (B, K, E, N), and the kept states (`saved_shape`; empty unless ``save``).
    """
    batch, directions, length, channels = delta.shape
    n = A.shape[-1]
    dtype = compute_dtype(u)
    plan = plan_scan(delta, n)
    path = Traversal(order, batch, directions, length, dtype)
    A2 = (A.to(dtype) * LOG2_E).transpose(1, 2).contiguous()

    def scratch(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=u.device)

    saved = scratch(*saved_shape(delta, n)) if save else scratch(0)
    y = scratch(length, batch, directions, channels)
    a_buffer = scratch(plan.chunk, batch, directions, n, channels)
    h_buffers = [] if save and plan.keep_all else [torch.empty_like(a_buffer) for _ in range(2)]
    h = None
    for begin in range(0, length, plan.interval):
        end = min(begin + plan.interval, length)
        raw = read_delta(path, delta, delta_bias, begin, end)
        dt = softplus(raw) if delta_softplus else raw
        du = path.read(u, begin, end) * dt
        rows_b, rows_c = path.read(B, begin, end), path.read(C, begin, end)
        if save and not plan.keep_all:
            kept = saved[begin // plan.interval]
            kept.zero_() if h is None else kept.copy_(h)
        for start in range(begin, end, plan.chunk):
            stop = min(start + plan.chunk, end)
            part = slice(start - begin, stop - begin)
            a = decay(dt[part], A2, out=a_buffer[: stop - start])
            if h_buffers:
                h_buffers.reverse()  # the last state of the previous chunk lives in the other one
                states = h_buffers[0][: stop - start]
            else:
                states = saved[start:stop]
            torch.mul(rows_b[part].unsqueeze(-1), du[part].unsqueeze(-2), out=states)
            recur(a, states, h)
            h = states[-1]
            y[start:stop] = contract(rows_c[part], states)
    last_state = h.transpose(-1, -2).clone(memory_format=torch.contiguous_format)
    return (path.write_sum(y) if merge else path.write(y)), last_state, saved


class Tokens(NamedTuple):
    """What a block of tokens, directions and channels reads.

    Attributes:
        dt: (T, B, K, E) step sizes.
        u: (T, B, K, E).
        b: (T, B, K, N).
        c: (T, B, K, N).
        grad: (T, B, K, E) gradient of y.
    """

    dt: Tensor
    u: Tensor
    b: Tensor
    c: Tensor
    grad: Tensor


class Gradients(NamedTuple):
    """Gradients of a block: dt and u (T, B, K, E), b and c (T, B, K, N), a (K, N, E)."""

    dt: Tensor
    u: Tensor
    b: Tensor
    c: Tensor
    a: Tensor


def differentiate(
    tokens: Tokens, natural_a: Tensor, a: Tensor, states: Tensor, before: Tensor | None, carry: Tensor
) -> Gradients:
    """Differentiate one block whose states are known.

    Args:
        tokens: what the block reads.
        natural_a: (K, N, E) state matrix.
        a: (T, B, K, N, E) decays; overwritten.
        states: (T, B, K, N, E) states.
        before: (B, K, N, E) state before the first token, None for zero.
        carry: (B, K, N, E) gradient that reaches the last state from later tokens; becomes the one for earlier tokens.
    """
    dt, u, b, c, grad = tokens
    grad_h = c.unsqueeze(-1) * grad.unsqueeze(-2)
    grad_h[-1] += carry
    recur(a[1:], grad_h[:-1], grad_h[-1], reverse=True)
    torch.mul(a[0], grad_h[0], out=carry)
    grad_du = contract(b, grad_h)
    grad_b, grad_c = contract_channels(dt * u, grad_h), contract_channels(grad, states)

    # the gradient of dt A, which enters as exp(dt A) h_{t-1}; then those of its two factors
    grad_h *= a
    grad_h[1:] *= states[:-1]
    grad_h[0].zero_() if before is None else grad_h[0].mul_(before)
    grad_dt = torch.mul(grad_h, natural_a, out=a).sum(-2).addcmul_(grad_du, u)
    grad_h *= dt.unsqueeze(-2)
    return Gradients(grad_dt, grad_du * dt, grad_b, grad_c, grad_h.sum((0, 1)))


def backward(
    grad_y: Tensor,
    grad_last_state: Tensor | None,
    saved: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    delta_bias: Tensor | None,
    order: Tensor | None,
    delta_softplus: bool,
    merge: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Backward of the scan.

    Args:
        grad_y: gradient of y, (B, L, E) if ``merge`` else (B, K, L, E).
        grad_last_state: gradient of the last state, (B, K, E, N), or None.
        saved: states kept by the forward.
        u, delta, A, B, C, delta_bias, order, delta_softplus, merge: as in the forward.

    Returns:
        Gradients of u, delta, A, B, C and delta_bias (to be ignored if there is none), in the types of the inputs.
    """
    batch, directions, length, channels = delta.shape
    n = A.shape[-1]
    dtype = compute_dtype(u)
    plan = plan_scan(delta, n)
    path = Traversal(order, batch, directions, length, dtype)
    natural_a = A.to(dtype).transpose(1, 2).contiguous()
    A2 = natural_a * LOG2_E
    if merge:
        grad_y = grad_y.unsqueeze(1)

    def scratch(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=u.device)

    grad_u, grad_delta = scratch(length, batch, directions, channels), scratch(length, batch, directions, channels)
    grad_b, grad_c = scratch(length, batch, directions, n), scratch(length, batch, directions, n)
    grad_a, grad_bias = scratch(directions, n, channels), scratch(directions, channels)
    carry = scratch(batch, directions, n, channels)  # gradient of the state that the interval hands on
    if grad_last_state is not None:
        carry += grad_last_state.transpose(-1, -2)

    interval = plan.chunk if plan.keep_all else plan.interval
    every = slice(None)
    blocks = [(every, every)]
    if not plan.keep_all:  # the whole interval is recomputed, in blocks that fit the cache
        starts = range(0, channels, plan.width)
        blocks = [(slice(k, k + 1), slice(e, e + plan.width)) for k in range(directions) for e in starts]
    for begin in reversed(range(0, length, interval)):
        end = min(begin + interval, length)
        raw = read_delta(path, delta, delta_bias, begin, end)
        dt = softplus(raw) if delta_softplus else raw
        rows_u, rows_b, rows_c = (path.read(volume, begin, end) for volume in (u, B, C))
        rows_g = path.read(grad_y, begin, end)
        grad_dt = torch.empty_like(dt)
        for k, e in blocks:
            tokens = Tokens(dt[:, :, k, e], rows_u[:, :, k, e], rows_b[:, :, k], rows_c[:, :, k], rows_g[:, :, k, e])
            a = decay(tokens.dt, A2[k, :, e])
            if plan.keep_all:
                states, before = saved[begin:end], saved[begin - 1] if begin else None
            else:
                before = saved[begin // interval][:, k, :, e]
                states = tokens.b.unsqueeze(-1) * (tokens.dt * tokens.u).unsqueeze(-2)
                recur(a, states, before)
            block = differentiate(tokens, natural_a[k, :, e], a, states, before, carry[:, k, :, e])
            grad_u[begin:end, :, k, e] = block.u
            grad_dt[:, :, k, e] = block.dt
            grad_b[begin:end, :, k] += block.b
            grad_c[begin:end, :, k] += block.c
            grad_a[k, :, e] += block.a
        if delta_softplus:
            grad_dt *= torch.sigmoid(raw)
        grad_delta[begin:end] = grad_dt
        grad_bias += grad_dt.sum((0, 1))

    volume_u = path.write(grad_u) if u.shape[1] == directions else path.write_sum(grad_u).unsqueeze(1)
    return (
        volume_u.to(u.dtype),
        path.write(grad_delta).to(delta.dtype),
        grad_a.transpose(1, 2).to(A.dtype).contiguous(),
        path.write(grad_b).to(B.dtype),
        path.write(grad_c).to(C.dtype),
        grad_bias.to(grad_bias.dtype if delta_bias is None else delta_bias.dtype),
    )
