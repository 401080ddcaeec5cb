"""The selective scan in plain PyTorch: nothing to compile, any device, with its own backward.

Everything that does not depend on the previous token (decay, input, output, all reductions of the backward) is
computed for a chunk of tokens at once, in buffers that serve every chunk; the recurrence itself is one in-place
operation per token. A chunk is small enough for the cache, and takes only as many sequences as keep an operation busy.
Channels are innermost, so each operation runs over long contiguous rows. exp is computed as exp2 with log2(e) folded
into A, which is several times faster than exp on some CPUs and never slower.

The backward needs the states again. Where all of them fit into a modest buffer the forward keeps them; otherwise it
keeps the state before each chunk, and the backward computes the others again.

Shapes are those of `problem`; inside, tokens come first: (T, B, K, E), (T, B, K, N), states (T, B, K, N, E), where B
and K are those of a block of sequences.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .problem import LOG2_E, Gradients, ResultGradients, Results, ScanInputs
from .recurrence import recur
from .scan_order import Block, ScanOrder

ARRAY_ELEMENTS = 1 << 19  # of a working array with more than MIN_CHUNK tokens: a few times 2 MiB stay in the cache
MAX_ARRAY_ELEMENTS = 1 << 24  # of any working array, and of those where every operation means launching a kernel
STEP_ELEMENTS = 1 << 16  # states of one token for every thread of a CPU: fewer do not keep it busy
MIN_CHUNK = 16  # tokens between two kept states, at least
KEEP_ALL_ELEMENTS = 15 << 19  # keep every state up to this size (30 MiB): larger buffers cost more in page faults


class Plan(NamedTuple):
    """How the tokens are cut up; a function of shape and device alone, so that forward and backward agree.

    Attributes:
        chunk: tokens computed at once; also the distance of kept states unless ``keep_all``.
        keep_all: the forward keeps every state.
    """

    chunk: int
    keep_all: bool


def plan_scan(delta: Tensor, states: int) -> Plan:
    """Cut a problem with step sizes delta, (B, K, L, E), and N states into chunks."""
    batch, directions, length, channels = delta.shape
    step = batch * directions * channels * states
    elements = ARRAY_ELEMENTS if delta.device.type == "cpu" else MAX_ARRAY_ELEMENTS
    chunk = min(max(elements // step, MIN_CHUNK), length)
    return Plan(chunk, step * length <= KEEP_ALL_ELEMENTS)


def plan_blocks(delta: Tensor, states: int, plan: Plan) -> list[Block]:
    """Sequences to compute at once, one block after the other: parts of the batch and of the directions."""
    batch, directions, _, channels = delta.shape
    step = channels * states
    sequences = batch * directions
    if not plan.keep_all:
        sequences = max(MAX_ARRAY_ELEMENTS // (plan.chunk * step), 1)
        if delta.device.type == "cpu":
            sequences = min(sequences, -(-torch.get_num_threads() * STEP_ELEMENTS // step))
    volumes = max(sequences // directions, 1)
    return [
        (slice(b, b + volumes), slice(k, k + sequences))
        for b in range(0, batch, volumes)
        for k in range(0, directions, sequences)
    ]


def saved_shape(delta: Tensor, states: int) -> tuple[int, ...]:
    """Shape of the states which the forward keeps for the backward; delta: (B, K, L, E)."""
    batch, directions, length, channels = delta.shape
    plan = plan_scan(delta, states)
    count = length if plan.keep_all else -(-length // plan.chunk)
    return (count, batch, directions, states, channels)


def read_steps(inputs: ScanInputs, path: ScanOrder, block: Block, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Delta with its bias, before and after softplus, (T, B, K, E), of steps start..stop of a block."""
    raw = path.read(inputs.delta, start, stop, block)
    if inputs.delta_bias is not None:
        raw = raw + inputs.delta_bias[block[1]].to(raw.dtype)
    return raw, softplus(raw) if inputs.delta_softplus else raw


def lay_out(inputs: ScanInputs) -> ScanInputs:
    """The same scan with volumes of which a few rows can be read without a copy of all."""
    if inputs.order is None:
        return inputs
    u, delta, B, C = (volume.contiguous() for volume in (inputs.u, inputs.delta, inputs.B, inputs.C))
    return inputs._replace(u=u, delta=delta, B=B, C=C)


def decay(dt: Tensor, A2: Tensor, out: Tensor) -> Tensor:
    """exp2(dt A2), (T, B, K, N, E), of step sizes (T, B, K, E) and A2 = A log2(e), (K, N, E)."""
    return torch.mul(dt.unsqueeze(-2), A2, out=out).exp2_()


def outer(rows: Tensor, columns: Tensor, out: Tensor) -> Tensor:
    """Products (T, B, K, N, E) of all pairs of (T, B, K, N) and (T, B, K, E)."""
    return torch.mul(rows.unsqueeze(-1), columns.unsqueeze(-2), out=out)


def contract(rows: Tensor, states: Tensor) -> Tensor:
    """Row vectors (T, B, K, N) times states (T, B, K, N, E): (T, B, K, E)."""
    n, e = states.shape[-2:]
    return torch.bmm(rows.reshape(-1, 1, n), states.view(-1, n, e)).view(*states.shape[:3], e)


def contract_channels(rows: Tensor, states: Tensor) -> Tensor:
    """Row vectors (T, B, K, E) times transposed states (T, B, K, N, E): (T, B, K, N)."""
    n, e = states.shape[-2:]
    return torch.bmm(rows.reshape(-1, 1, e), states.view(-1, n, e).transpose(1, 2)).view(*states.shape[:3], n)


def forward(inputs: ScanInputs, save: bool) -> Results:
    """Forward of the scan, as in `problem`; it keeps states (`saved_shape`)."""
    batch, directions, length, channels = inputs.delta.shape
    n, dtype = inputs.states, inputs.dtype
    plan, path, inputs = plan_scan(inputs.delta, n), ScanOrder(inputs), lay_out(inputs)
    A2 = (inputs.A.to(dtype) * LOG2_E).transpose(1, 2).contiguous()

    def scratch(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=inputs.u.device)

    saved = scratch(*saved_shape(inputs.delta, n)) if save else scratch(0)
    y = scratch(length, batch, directions, channels)
    last_state = scratch(*inputs.state_shape)
    for block in plan_blocks(inputs.delta, n, plan):
        b, k = block
        state = torch.zeros_like(last_state[b, k].transpose(2, 3), memory_format=torch.contiguous_format)
        decays, states = (scratch(plan.chunk, *state.shape) for _ in range(2))
        for start in range(0, length, plan.chunk):
            stop = min(start + plan.chunk, length)
            _, dt = read_steps(inputs, path, block, start, stop)
            a = decay(dt, A2[k], out=decays[: stop - start])
            h = saved[start:stop] if save and plan.keep_all else states[: stop - start]
            outer(path.read(inputs.B, start, stop, block), path.read(inputs.u, start, stop, block) * dt, out=h)
            if save and not plan.keep_all:
                saved[start // plan.chunk, b, k] = state
            recur(a, h, state)
            y[start:stop, b, k] = contract(path.read(inputs.C, start, stop, block), h)
            state.copy_(h[-1])
        last_state[b, k] = state.transpose(2, 3)
    return (path.write_sum(y) if inputs.merge else path.write(y)), last_state, saved


class Tokens(NamedTuple):
    """What a chunk of a block reads: dt, u and the gradient of y, (T, B, K, E), and b and c, (T, B, K, N)."""

    dt: Tensor
    u: Tensor
    b: Tensor
    c: Tensor
    grad: Tensor


class ChunkGradients(NamedTuple):
    """Gradients of a chunk: dt and u (T, B, K, E), b and c (T, B, K, N), a (K, N, E)."""

    dt: Tensor
    u: Tensor
    b: Tensor
    c: Tensor
    a: Tensor


def differentiate(
    tokens: Tokens, natural_a: Tensor, a: Tensor, states: Tensor, before: Tensor | None, carry: Tensor, out: Tensor
) -> ChunkGradients:
    """Differentiate one chunk whose states are known.

    Args:
        tokens: what the chunk reads.
        natural_a: (K, N, E) state matrix.
        a: (T, B, K, N, E) decays; overwritten.
        states: (T, B, K, N, E) states.
        before: (B, K, N, E) state before the first token, None for zero.
        carry: (B, K, N, E) gradient that reaches the last state from later tokens; becomes the one for earlier tokens.
        out: (T, B, K, N, E) to compute in.
    """
    dt, u, b, c, grad = tokens
    grad_h = outer(c, grad, out=out)
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
    return ChunkGradients(grad_dt, grad_du.mul_(dt), grad_b, grad_c, grad_h.sum((0, 1)))


def backward(grads: ResultGradients, saved: Tensor, inputs: ScanInputs) -> Gradients:
    """Backward of the scan, as in `problem`."""
    grad_y, grad_last_state = grads
    batch, directions, length, channels = inputs.delta.shape
    n, dtype = inputs.states, inputs.dtype
    plan, path, inputs = plan_scan(inputs.delta, n), ScanOrder(inputs), lay_out(inputs)
    natural_a = inputs.A.to(dtype).transpose(1, 2).contiguous()
    A2 = natural_a * LOG2_E
    if inputs.merge:
        grad_y = grad_y.unsqueeze(1)
    if inputs.order is not None:
        grad_y = grad_y.contiguous()

    def scratch(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=inputs.u.device)

    grad_u, grad_delta = (scratch(length, batch, directions, channels) for _ in range(2))
    grad_b, grad_c = (scratch(length, batch, directions, n) for _ in range(2))
    grad_a, grad_bias = scratch(directions, n, channels).zero_(), scratch(directions, channels).zero_()
    for block in plan_blocks(inputs.delta, n, plan):
        b, k = block
        before = saved[0, b, k]
        carry = torch.zeros_like(before, memory_format=torch.contiguous_format)  # gradient of the state handed on
        if grad_last_state is not None:
            carry += grad_last_state[b, k].transpose(2, 3)
        decays, states, work = (scratch(plan.chunk, *carry.shape) for _ in range(3))
        for start in reversed(range(0, length, plan.chunk)):
            stop = min(start + plan.chunk, length)
            count = stop - start
            raw, dt = read_steps(inputs, path, block, start, stop)
            volumes = (inputs.u, inputs.B, inputs.C, grad_y)
            tokens = Tokens(dt, *(path.read(volume, start, stop, block) for volume in volumes))
            a = decay(dt, A2[k], out=decays[:count])
            if plan.keep_all:
                h, before = saved[start:stop], saved[start - 1] if start else None
            else:
                before = saved[start // plan.chunk, b, k]
                h = outer(tokens.b, dt * tokens.u, out=states[:count])
                recur(a, h, before)
            chunk = differentiate(tokens, natural_a[k], a, h, before, carry, out=work[:count])
            grad_dt = chunk.dt.mul_(torch.sigmoid(raw)) if inputs.delta_softplus else chunk.dt
            grad_u[start:stop, b, k], grad_delta[start:stop, b, k] = chunk.u, grad_dt
            grad_b[start:stop, b, k], grad_c[start:stop, b, k] = chunk.b, chunk.c
            grad_a[k] += chunk.a
            grad_bias[k] += grad_dt.sum((0, 1))

    return inputs.gradients(
        path.write(grad_u) if inputs.u.shape[1] == directions else path.write_sum(grad_u).unsqueeze(1),
        path.write(grad_delta),
        grad_a.transpose(1, 2).contiguous(),
        path.write(grad_b),
        path.write(grad_c),
        grad_bias,
    )
