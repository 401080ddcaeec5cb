"""The selective scan in plain PyTorch: nothing to compile, any device, with its own backward.

Everything that does not depend on the previous token (decay, input, output, all reductions of the backward) is
computed for a chunk of tokens at once; the recurrence itself is one in-place operation per token. Chunks are small
enough to stay in the cache. Channels are innermost, so each operation runs over long contiguous rows. exp is computed as
exp2 with log2(e) folded into A, which is several times faster than exp on some CPUs and never slower.

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

from .reference import compute_dtype
from .traversal import Traversal

LOG2_E = math.log2(math.e)
CHUNK_ELEMENTS = 1 << 18  # of one working array: 1 MiB of float32 stays in a core's second-level cache
BLOCK_ELEMENTS = 1 << 19  # the same for the recomputing backward, where fewer and larger operations win
INTERVAL = 32  # tokens between two kept states
KEEP_ALL_BYTES = 30 << 20  # keep every state for the backward up to this size; larger buffers cost more in page faults


class Plan(NamedTuple):
    """How a problem is cut up; a function of its shape alone, so that forward and backward agree.

    Attributes:
        chunk: tokens computed at once.
        interval: tokens whose inputs are gathered at once; also the distance of kept states if not ``keep_all``.
        keep_all: the forward keeps every state.
    """

    chunk: int
    interval: int
    keep_all: bool


def plan_scan(batch: int, directions: int, length: int, channels: int, states: int) -> Plan:
    """Cut a problem of the given size into chunks and intervals."""
    size = batch * directions * channels * states
    chunk = min(max(CHUNK_ELEMENTS // size, 1), length)
    return Plan(chunk, min(max(chunk, INTERVAL), length), 4 * size * length <= KEEP_ALL_BYTES)


def saved_shape(batch: int, directions: int, length: int, channels: int, states: int) -> tuple[int, ...]:
    """Shape of the states which the forward keeps for the backward."""
    plan = plan_scan(batch, directions, length, channels, states)
    count = length if plan.keep_all else -(-length // plan.interval)
    return (count, batch, directions, states, channels)


def step_size(delta: Tensor, delta_bias: Tensor | None, delta_softplus: bool) -> Tensor:
    """Step size of delta, (T, B, K, E)."""
    if delta_bias is not None:
        delta = delta + delta_bias.to(delta.dtype)
    return softplus(delta) if delta_softplus else delta


def decay(dt: Tensor, A2: Tensor, out: Tensor | None = None) -> Tensor:
    """exp2(dt A2), (T, B, K, N, E), of step sizes (T, B, K, E) and A2 = A log2(e), (K, N, E)."""
    return torch.mul(dt.unsqueeze(-2), A2, out=out).exp2_()


def recur(a: Tensor, x: Tensor, start: Tensor | None) -> None:
    """Turn x into the states h_t = a_t h_{t-1} + x_t in place; a, x: (T, ...), start: h_{-1} or None for zero."""
    decays, states = a.unbind(0), x.unbind(0)
    if start is not None:
        states[0].addcmul_(decays[0], start)
    for t in range(1, len(states)):
        states[t].addcmul_(decays[t], states[t - 1])


def recur_back(a: Tensor, g: Tensor) -> None:
    """Turn g into the gradients g_t + a_{t+1} g_{t+1} of the states in place; a, g: (T, ...)."""
    decays, grads = a.unbind(0), g.unbind(0)
    for t in range(len(grads) - 2, -1, -1):
        grads[t].addcmul_(decays[t + 1], grads[t + 1])


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
    plan = plan_scan(batch, directions, length, channels, n)
    path = Traversal(order, batch, directions, length, dtype)
    A2 = (A.to(dtype) * LOG2_E).transpose(1, 2).contiguous()

    def scratch(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=u.device)

    saved = scratch(*saved_shape(batch, directions, length, channels, n)) if save else scratch(0)
    y = scratch(length, batch, directions, channels)
    a_buffer = scratch(plan.chunk, batch, directions, n, channels)
    h_buffers = [] if save and plan.keep_all else [torch.empty_like(a_buffer) for _ in range(2)]
    h = None
    for begin in range(0, length, plan.interval):
        end = min(begin + plan.interval, length)
        dt = step_size(path.read(delta, begin, end), delta_bias, delta_softplus)
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
        Gradients of u, delta, A, B, C and delta_bias (zero if there is none), in the types of the inputs.
    """
    batch, directions, length, channels = delta.shape
    n = A.shape[-1]
    dtype = compute_dtype(u)
    plan = plan_scan(batch, directions, length, channels, n)
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
    blocks = (
        [(slice(None), slice(None))] if plan.keep_all else channel_blocks(interval * batch * n, directions, channels)
    )
    for begin in reversed(range(0, length, interval)):
        end = min(begin + interval, length)
        raw = path.read(delta, begin, end)
        if delta_bias is not None:
            raw = raw + delta_bias.to(dtype)
        dt = softplus(raw) if delta_softplus else raw
        rows_u, rows_b, rows_c = (path.read(volume, begin, end) for volume in (u, B, C))
        rows_g = path.read(grad_y, begin, end)
        grad_dt = torch.empty_like(dt)
        for k, e in blocks:
            dt_, u_, g_ = dt[:, :, k, e], rows_u[:, :, k, e], rows_g[:, :, k, e]
            b_, c_, A2_, carry_ = rows_b[:, :, k], rows_c[:, :, k], A2[k, :, e], carry[:, k, :, e]
            du = dt_ * u_
            a = decay(dt_, A2_)
            if plan.keep_all:
                states = saved[begin:end]
                before = saved[begin - 1] if begin else None
            else:
                states = b_.unsqueeze(-1) * du.unsqueeze(-2)
                before = saved[begin // interval][:, k, :, e]
                recur(a, states, before)
            grad_h = c_.unsqueeze(-1) * g_.unsqueeze(-2)
            grad_h[-1] += carry_
            recur_back(a, grad_h)
            torch.mul(a[0], grad_h[0], out=carry_)
            grad_c[begin:end, :, k] += contract_channels(g_, states)
            grad_b[begin:end, :, k] += contract_channels(du, grad_h)
            grad_du = contract(b_, grad_h)
            torch.mul(grad_du, dt_, out=grad_u[begin:end, :, k, e])
            # d/d(dt A) of exp(dt A) h, then its two factors
            grad_h *= a
            grad_h[1:] *= states[:-1]
            grad_h[0] *= 0 if before is None else before
            torch.mul(grad_h, natural_a[k, :, e], out=a)
            grad_dt[:, :, k, e] = torch.addcmul(a.sum(-2), grad_du, u_)
            grad_h *= dt_.unsqueeze(-2)
            grad_a[k, :, e] += grad_h.sum((0, 1))
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


def channel_blocks(size: int, directions: int, channels: int) -> list[tuple[slice, slice]]:
    """Blocks of (directions, channels) whose arrays hold about BLOCK_ELEMENTS, at ``size`` elements per channel."""
    width = max(min(BLOCK_ELEMENTS // size, channels), min(64, channels))
    return [
        (slice(k, k + 1), slice(e, min(e + width, channels)))
        for k in range(directions)
        for e in range(0, channels, width)
    ]
