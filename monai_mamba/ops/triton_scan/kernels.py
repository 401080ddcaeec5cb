"""The Triton kernels. Importing this module imports Triton.

Shapes as in `problem`. A program works for one direction of one volume and a block of channels, in most kernels for
one chunk of tokens. Its tile of states, (E, N), stays in registers: neighboring threads hold neighboring states of a
channel and neighboring channels, so that B, C and all reductions are shared within a warp. exp is computed as exp2,
with log2(e) folded into A. Nothing is added to memory that another program writes: partial sums go to places of their
own, and equal inputs give equal bits.

A volume (B, K, L, F) comes as (pointer, stride of the volume, of the direction, of the token); features are contiguous.
Offsets that grow with the volume are 64-bit. Steps beyond the last token have step size 0 and input 0, which leaves the
state as it is.
"""

# ruff: noqa: RUF005, SIM102, SIM108 - the kernels' compiler knows a part of Python only

from __future__ import annotations

import triton
import triton.language as tl

LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def _place(blocks, chunks, directions):
    """Block, chunk, sequence, volume and direction of this program; blocks run fastest, as they share B and C."""
    program = tl.program_id(0)
    sequence = (program // (blocks * chunks)).to(tl.int64)
    return program % blocks, program // blocks % chunks, sequence, sequence // directions, sequence % directions


@triton.jit
def _tile(block, channels, states, CHANNELS: tl.constexpr, STATES: tl.constexpr):
    """Channels and states of this program, their offsets in a matrix (E, N), and which of these exist."""
    e = block * CHANNELS + tl.arange(0, CHANNELS)
    n = tl.arange(0, STATES)
    return e, n, e[:, None] * states + n[None, :], (e < channels)[:, None] & (n < states)[None, :]


@triton.jit
def _rows(volume, batch, direction):
    """Pointer to the first token of a direction."""
    return volume[0] + batch * volume[1] + direction * volume[2]


@triton.jit
def _token(order, direction, t, length, ORDERED: tl.constexpr):
    """Token that step t reads and writes; the last one for steps beyond the end."""
    t = tl.minimum(t, length - 1).to(tl.int64)
    if ORDERED:
        return tl.load(order + direction * length + t).to(tl.int64)
    else:
        return t


@triton.jit
def _before_end(features, count, t, length):
    """Which of the features exist at step t: the first ``count``, none beyond the last token."""
    return features < tl.where(t < length, count, 0)


@triton.jit
def _read(rows, volume, token, features, exists):
    return tl.load(rows + token * volume[3] + features, mask=exists, other=0.0).to(tl.float32)


@triton.jit
def _stack(x0, x1, x2, x3):
    """One tensor (..., 4) of four, so that threads exchange all of them at once."""
    pairs = tl.join(tl.join(x0, x2), tl.join(x1, x3))
    return tl.reshape(pairs, x0.shape + (4,))


@triton.jit
def _fold(x):
    """Sum some of the channels of (E, N), giving (8, N): those that one thread holds."""
    return tl.sum(tl.reshape(x, (x.shape[0] // 8, 8, x.shape[1])), axis=0)


@triton.jit
def _store_tokens(volume, sequence, order, direction, t, length, count, e, values, ORDERED: tl.constexpr):
    """Write values (E, 4) of steps t to t + 3 into a contiguous volume (B, K, L, E) in voxel order."""
    t = t + tl.arange(0, 4)
    exists = (e < count)[:, None] & (t < length)[None, :]
    if ORDERED:
        token = tl.load(order + direction * length + t, mask=t < length, other=0).to(tl.int64)
    else:
        token = t.to(tl.int64)
    tl.store(volume + (sequence * length + token)[None, :] * count + e[:, None], values, mask=exists)


@triton.jit
def _raw_steps(
    delta, bias, directions, length, channels, count,
    BIASED: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Delta with its bias for some tokens and channels, their offsets in (B, K, L, E), and which of these exist."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    e = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    exists = (row < count)[:, None] & (e < channels)[None, :]
    sequence = row // length
    direction = sequence % directions
    start = sequence // directions * delta[1] + direction * delta[2] + row % length * delta[3]
    x = tl.load(delta[0] + start[:, None] + e[None, :], mask=exists, other=0.0).to(tl.float32)
    if BIASED:
        x += tl.load(bias + direction[:, None] * channels + e[None, :], mask=exists, other=0.0)
    return x, row[:, None] * channels + e[None, :], exists


@triton.jit
def step_sizes(
    delta, bias, out, directions, length, channels, count,
    BIASED: tl.constexpr, SOFTPLUS: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Step sizes, (B, K, L, E) float32: delta with its bias, through softplus.

    Once for all: threads that share a channel in the scan would all compute it again.
    """
    x, place, exists = _raw_steps(delta, bias, directions, length, channels, count, BIASED, ROWS, CHANNELS)
    if SOFTPLUS:
        # max(x, 0) + log(1 + z) by log(1 + z) = 2 artanh(z / (2 + z)), accurate for small z as well
        z = tl.exp(-tl.abs(x))
        s = z / (2.0 + z)
        q = s * s
        series = 1 / 9 + q * (1 / 11 + q * (1 / 13 + q / 15))
        series = 1.0 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * series)))
        x = tl.maximum(x, 0.0) + 2.0 * s * series
    tl.store(out + place, x, mask=exists)


@triton.jit
def softplus_slopes(
    delta, bias, grad, directions, length, channels, count,
    BIASED: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Turn the gradient of the step sizes, (B, K, L, E) float32, into that of delta before softplus, in place."""
    x, place, exists = _raw_steps(delta, bias, directions, length, channels, count, BIASED, ROWS, CHANNELS)
    slope = 1.0 + tl.exp(-x)
    tl.store(grad + place, tl.load(grad + place, mask=exists, other=0.0) / slope, mask=exists)


@triton.jit
def chunk_ends(
    x, dt, a2, m, order, ends, totals, directions, length, channels, states, blocks, chunk, chunks,
    ADJOINT: tl.constexpr, ORDERED: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """What every chunk hands on if it gets zero, (B, K, chunks, E, N), and its summed step sizes, (B, K, chunks, E).

    Forward, x is u and m is B; adjoint, from the last token to the first, x is the gradient of y and m is C.
    """
    block, part, sequence, batch, direction = _place(blocks, chunks, directions)
    e, n, tile, real = _tile(block, channels, states, CHANNELS, STATES)
    decay = tl.load(a2 + direction * channels * states + tile, mask=real, other=0.0)
    x_rows, dt_rows, m_rows = _rows(x, batch, direction), _rows(dt, batch, direction), _rows(m, batch, direction)
    h = tl.zeros((CHANNELS, STATES), tl.float32)
    total = tl.zeros((CHANNELS,), tl.float32)
    first = part * chunk
    span = tl.minimum(chunk, tl.cdiv(length - first, UNROLL) * UNROLL)
    for s in range(0, span, UNROLL):
        dts, xs, ms = (), (), ()
        for j in tl.static_range(UNROLL):
            if ADJOINT:
                t = first + (span - 1 - s - j)
            else:
                t = first + (s + j)
            token = _token(order, direction, t, length, ORDERED)
            exists = _before_end(e, channels, t, length)
            dts += (_read(dt_rows, dt, token, e, exists),)
            xs += (_read(x_rows, x, token, e, exists),)
            ms += (_read(m_rows, m, token, n, n < states),)
        for j in tl.static_range(UNROLL):
            a = tl.exp2(dts[j][:, None] * decay)
            if ADJOINT:
                h = a * (h + xs[j][:, None] * ms[j][None, :])
            else:
                h = a * h + (dts[j] * xs[j])[:, None] * ms[j][None, :]
            total += dts[j]
    place = sequence * chunks + part
    tl.store(ends + place * channels * states + tile, h, mask=real)
    tl.store(totals + place * channels + e, total, mask=e < channels)


@triton.jit
def chunk_starts(
    ends, totals, a2, initial, starts, directions, channels, states, blocks, chunks,
    ADJOINT: tl.constexpr, ZERO: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """What every chunk gets from those before it (after it if ADJOINT), (B, K, chunks, E, N).

    The outermost chunk gets ``initial``, (B, K, E, N), or zero.
    """
    block, _, sequence, _, direction = _place(blocks, 1, directions)
    e, _, tile, real = _tile(block, channels, states, CHANNELS, STATES)
    decay = tl.load(a2 + direction * channels * states + tile, mask=real, other=0.0)
    if ZERO:
        h = tl.zeros((CHANNELS, STATES), tl.float32)
    else:
        h = tl.load(initial + sequence * channels * states + tile, mask=real, other=0.0)
    for i in range(0, chunks):
        if ADJOINT:
            place = sequence * chunks + (chunks - 1 - i)
        else:
            place = sequence * chunks + i
        total = tl.load(totals + place * channels + e, mask=e < channels, other=0.0)
        end = tl.load(ends + place * channels * states + tile, mask=real, other=0.0)
        tl.store(starts + place * channels * states + tile, h, mask=real)
        h = tl.exp2(total[:, None] * decay) * h + end


@triton.jit
def scan(
    u, dt, a2, b, c, order, starts, y, saved, last_state,
    directions, length, channels, states, blocks, chunk, chunks, intervals,
    SAVE: tl.constexpr, CHUNKED: tl.constexpr, ORDERED: tl.constexpr,
    CHANNELS: tl.constexpr, STATES: tl.constexpr, UNROLL: tl.constexpr, INTERVAL: tl.constexpr,
):  # fmt: skip
    """The forward: y (B, K, L, E) in voxel order, the last state (B, K, E, N), kept states (B, K, intervals, E, N)."""
    block, part, sequence, batch, direction = _place(blocks, chunks, directions)
    e, n, tile, real = _tile(block, channels, states, CHANNELS, STATES)
    decay = tl.load(a2 + direction * channels * states + tile, mask=real, other=0.0)
    u_rows, dt_rows = _rows(u, batch, direction), _rows(dt, batch, direction)
    b_rows, c_rows = _rows(b, batch, direction), _rows(c, batch, direction)
    if CHUNKED:
        h = tl.load(starts + (sequence * chunks + part) * channels * states + tile, mask=real, other=0.0)
    else:
        h = tl.zeros((CHANNELS, STATES), tl.float32)
    first = part * chunk
    for s in range(0, tl.minimum(chunk, length - first), UNROLL):
        if SAVE:
            if s % INTERVAL == 0:
                place = sequence * intervals + (first + s) // INTERVAL
                tl.store(saved + place * channels * states + tile, h, mask=real)
        dts, us, bs, cs, outs = (), (), (), (), ()
        for j in tl.static_range(UNROLL):
            token = _token(order, direction, first + (s + j), length, ORDERED)
            exists = _before_end(e, channels, first + (s + j), length)
            dts += (_read(dt_rows, dt, token, e, exists),)
            us += (_read(u_rows, u, token, e, exists),)
            bs += (_read(b_rows, b, token, n, n < states),)
            cs += (_read(c_rows, c, token, n, n < states),)
        for j in tl.static_range(UNROLL):
            h = tl.exp2(dts[j][:, None] * decay) * h + (dts[j] * us[j])[:, None] * bs[j][None, :]
            outs += (tl.sum(h * cs[j][None, :], axis=1),)
        out = _stack(outs[0], outs[1], outs[2], outs[3])
        _store_tokens(y, sequence, order, direction, first + s, length, channels, e, out, ORDERED)
    if part == chunks - 1:
        tl.store(last_state + sequence * channels * states + tile, h, mask=real)


@triton.jit
def scan_adjoint(
    grad_y, u, dt, a2, b, c, order, saved, starts, scratch, grad_u, grad_dt, grad_a, grad_b, grad_c,
    directions, length, channels, states, blocks, chunk, chunks, intervals, sequences,
    ZERO: tl.constexpr, ORDERED: tl.constexpr,
    CHANNELS: tl.constexpr, STATES: tl.constexpr, UNROLL: tl.constexpr, INTERVAL: tl.constexpr,
):  # fmt: skip
    """The backward, one interval after the other from the last on.

    The states of an interval are computed again from the kept one before it. One in UNROLL waits in ``scratch`` until
    the way back needs it, the others between are computed once more and stay in registers.

    Writes per direction and in voxel order the gradients of u and of the step sizes, (B, K, L, E); per block and in
    scan order those of B and C, (blocks, B, K, L, N); per chunk that of A, (B, K, chunks, E, N). ``starts`` is the
    gradient that every chunk gets from the tokens after it, (B, K, chunks, E, N), unless ZERO.
    """
    block, part, sequence, batch, direction = _place(blocks, chunks, directions)
    e, n, tile, real = _tile(block, channels, states, CHANNELS, STATES)
    decay = tl.load(a2 + direction * channels * states + tile, mask=real, other=0.0)
    u_rows, dt_rows, g_rows = _rows(u, batch, direction), _rows(dt, batch, direction), _rows(grad_y, batch, direction)
    b_rows, c_rows = _rows(b, batch, direction), _rows(c, batch, direction)
    place = (sequence * chunks + part) * channels * states
    if ZERO:
        carry = tl.zeros((CHANNELS, STATES), tl.float32)
    else:
        carry = tl.load(starts + place + tile, mask=real, other=0.0)
    grad_decay = tl.zeros((CHANNELS, STATES), tl.float32)
    e_inside, n_inside = tl.arange(0, CHANNELS), tl.arange(0, STATES)
    own = scratch + tl.program_id(0).to(tl.int64) * (INTERVAL // UNROLL * CHANNELS * STATES)
    own = own + e_inside[:, None] * STATES + n_inside[None, :]

    first = part * chunk
    count = tl.cdiv(tl.minimum(chunk, length - first), INTERVAL)
    for i in range(0, count):
        start = first + (count - 1 - i) * INTERVAL
        span = tl.minimum(INTERVAL, tl.cdiv(length - start, UNROLL) * UNROLL)
        h = tl.load(saved + (sequence * intervals + start // INTERVAL) * channels * states + tile, mask=real, other=0.0)
        for s in range(0, span, UNROLL):
            tl.store(own + s // UNROLL * (CHANNELS * STATES), h)
            dts, us, bs = (), (), ()
            for j in tl.static_range(UNROLL):
                token = _token(order, direction, start + (s + j), length, ORDERED)
                exists = _before_end(e, channels, start + (s + j), length)
                dts += (_read(dt_rows, dt, token, e, exists),)
                us += (_read(u_rows, u, token, e, exists),)
                bs += (_read(b_rows, b, token, n, n < states),)
            for j in tl.static_range(UNROLL):
                h = tl.exp2(dts[j][:, None] * decay) * h + (dts[j] * us[j])[:, None] * bs[j][None, :]
        tl.debug_barrier()  # another thread of the program may read what this one wrote

        for back in range(0, span, UNROLL):
            s = span - UNROLL - back
            h = tl.load(own + s // UNROLL * (CHANNELS * STATES))
            dts, us, gs, bs, cs = (), (), (), (), ()
            for j in tl.static_range(UNROLL):
                token = _token(order, direction, start + (s + j), length, ORDERED)
                exists = _before_end(e, channels, start + (s + j), length)
                dts += (_read(dt_rows, dt, token, e, exists),)
                us += (_read(u_rows, u, token, e, exists),)
                gs += (_read(g_rows, grad_y, token, e, exists),)
                bs += (_read(b_rows, b, token, n, n < states),)
                cs += (_read(c_rows, c, token, n, n < states),)
            decays, hs = (), (h,)
            for j in tl.static_range(UNROLL):
                a = tl.exp2(dts[j][:, None] * decay)
                h = a * h + (dts[j] * us[j])[:, None] * bs[j][None, :]
                decays += (a,)
                hs += (h,)
            for_u, for_dt, for_b, for_c = (), (), (), ()  # from the last step to the first
            for j in tl.static_range(UNROLL - 1, -1, -1):
                grad_h = carry + gs[j][:, None] * cs[j][None, :]
                grad_du = tl.sum(grad_h * bs[j][None, :], axis=1)
                for_b += (_fold((dts[j] * us[j])[:, None] * grad_h),)
                for_c += (_fold(gs[j][:, None] * hs[j + 1]),)
                carry = grad_h * decays[j]
                change = carry * hs[j]  # gradient of the exponent dt A
                grad_decay += dts[j][:, None] * change
                for_u += (grad_du * dts[j],)
                for_dt += (tl.sum(change * decay, axis=1) * LN_2 + grad_du * us[j],)
            t = start + s
            out = _stack(for_u[3], for_u[2], for_u[1], for_u[0])
            _store_tokens(grad_u, sequence, order, direction, t, length, channels, e, out, ORDERED)
            out = _stack(for_dt[3], for_dt[2], for_dt[1], for_dt[0])
            _store_tokens(grad_dt, sequence, order, direction, t, length, channels, e, out, ORDERED)
            sheet = block.to(tl.int64) * sequences + sequence
            out = tl.sum(_stack(for_b[3], for_b[2], for_b[1], for_b[0]), axis=0)
            _store_tokens(grad_b, sheet, order, direction, t, length, states, n, out, False)
            out = tl.sum(_stack(for_c[3], for_c[2], for_c[1], for_c[0]), axis=0)
            _store_tokens(grad_c, sheet, order, direction, t, length, states, n, out, False)
        tl.debug_barrier()  # all have read before the next interval overwrites it
    tl.store(grad_a + place + tile, grad_decay, mask=real)
