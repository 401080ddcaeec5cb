"""The selective scan in standard operators, for files that run where this package is not installed.

torch.export and the ONNX exporter see one loop operator, ``torch.ops.higher_order.scan``, which becomes ONNX ``Scan``;
torch.jit.trace sees a scripted loop, which becomes ``prim::Loop``. Its body holds elementwise operations and a sum
only: they name no size, so that batch and length may stay dynamic, and autocast leaves them in float32. Index tables
are computed from tensors rather than by ``arange``, which would write the device into the file. For inference:
gradients are right and slow.

Shapes are those of `problem`; inside, tokens come first: (L, B, K, E), (L, B, K, N), states (B, K, N, E).
"""

from __future__ import annotations

import functools
import warnings

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .problem import LOG2_E, ScanInputs


def scan(inputs: ScanInputs) -> tuple[Tensor, Tensor]:
    """Selective scan; the result is that of `reference.reference_scan`."""
    directions = inputs.delta.shape[1]
    order = None if inputs.order is None else inputs.order.long()
    u, delta, A, B, C, bias = inputs.to(inputs.dtype).tensors
    dt = _read(delta, order, directions)
    if bias is not None:
        dt = dt + bias
    if inputs.delta_softplus:
        dt = softplus(dt)
    du = dt * _read(u, order, directions)
    b, c = _read(B, order, directions), _read(C, order, directions)
    A = A.transpose(1, 2).contiguous()
    state = dt.new_zeros(dt.shape[1], *A.shape)
    y, state = _steps(state, dt, du, b, c, A)
    return _write(y, order, inputs.merge), state.transpose(-1, -2)


def _read(volume: Tensor, order: Tensor | None, directions: int) -> Tensor:
    """Rows (L, B, K, F) in scan order of a volume (B, K, L, F), or of (B, 1, L, F) for all directions."""
    if order is None:
        return volume.permute(2, 0, 1, 3).expand(-1, -1, directions, -1)
    if volume.shape[1] == directions:
        order = torch.stack([row + k * order.shape[1] for k, row in enumerate(order.unbind(0))])
    rows = volume.flatten(1, 2).index_select(1, order.t().flatten())
    return rows.unflatten(1, (-1, directions)).transpose(0, 1)


def _write(y: Tensor, order: Tensor | None, merge: bool) -> Tensor:
    """Volume (B, K, L, E), or (B, L, E) if ``merge``, of rows (L, B, K, E) in scan order."""
    if order is None:
        return y.sum(2).transpose(0, 1) if merge else y.permute(1, 2, 0, 3)
    directions = order.shape[0]
    step = torch.ones_like(order).cumsum(1) - 1
    inverse = torch.zeros_like(order).scatter(1, order, step)
    rows = torch.stack([row * directions + k for k, row in enumerate(inverse.unbind(0))])
    volume = y.transpose(0, 1).flatten(1, 2).index_select(1, rows.flatten()).unflatten(1, (directions, -1))
    return volume.sum(1) if merge else volume


def _steps(state: Tensor, dt: Tensor, du: Tensor, b: Tensor, c: Tensor, A: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs and last state of the recurrence from a state; A: (K, N, E)."""
    if torch.compiler.is_exporting():
        return _higher_order_loop(state, dt, du, b, c, A)
    if torch.jit.is_tracing():
        return _scripted_loop()(state, dt, du, b, c, A * LOG2_E)
    return _loop(state, dt, du, b, c, A * LOG2_E)


def _higher_order_loop(state: Tensor, dt: Tensor, du: Tensor, b: Tensor, c: Tensor, A: Tensor) -> tuple[Tensor, Tensor]:
    """`_steps` as one operator of a graph. exp, because ONNX has no exp2."""
    from torch._higher_order_ops.scan import scan as higher_order_scan  # a prototype of PyTorch, without a public name

    def step(h: Tensor, row: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        dt_t, du_t, b_t, c_t = row
        h = torch.exp(dt_t.unsqueeze(-2) * A) * h + b_t.unsqueeze(-1) * du_t.unsqueeze(-2)
        return h, (c_t.unsqueeze(-1) * h).sum(-2)

    state, y = higher_order_scan(step, state, (dt, du, b, c))
    return y, state


def _loop(state: Tensor, dt: Tensor, du: Tensor, b: Tensor, c: Tensor, A2: Tensor) -> tuple[Tensor, Tensor]:
    """`_steps` in the part of Python that TorchScript knows; A2 = A log2(e)."""
    y: list[Tensor] = []
    for t in range(dt.shape[0]):
        state = torch.exp2(dt[t].unsqueeze(-2) * A2) * state + b[t].unsqueeze(-1) * du[t].unsqueeze(-2)
        y.append((c[t].unsqueeze(-1) * state).sum(-2))
    return torch.stack(y), state


@functools.cache
def _scripted_loop() -> torch.jit.ScriptFunction:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
        return torch.jit.script(_loop)
