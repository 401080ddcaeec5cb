"""The kernels behind the interface of `torch_scan`. Importing this module imports Triton."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ..torch_scan import LOG2_E
from . import kernels
from .plan import CHANNELS, INTERVAL, UNROLL, plan_scan, saved_shape

ELEMENTS = 1024  # of one program that works element by element
# The defaults of both differ between versions of Triton. Sums need the fused multiply-add; the kernels load ahead by
# themselves, and the compiler's own pipelining has been wrong for scans before.
OPTIONS = {"enable_fp_fusion": True, "num_stages": 1}


def multiprocessors(device: torch.device) -> int:
    """How many programs a device runs at least at the same time; 1 for the processor, which interprets them."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def _volume(tensor: Tensor) -> tuple[Tensor, int, int, int]:
    """A volume (B, K, L, F), or (B, 1, L, F) for all directions, as the kernels read it."""
    if tensor.stride(-1) != 1:
        tensor = tensor.contiguous()
    batch, direction, token, _ = tensor.stride()
    return tensor, batch, direction if tensor.shape[1] > 1 else 0, token


class _Problem:
    """The inputs as the kernels read them, and where results go; arguments as in `reference.reference_scan`."""

    def __init__(
        self,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        delta_bias: Tensor | None,
        order: Tensor | None,
        delta_softplus: bool,
    ) -> None:
        self.batch, self.directions, self.length, self.channels = delta.shape
        self.states = A.shape[-1]
        self.device = delta.device
        self.plan = plan_scan(delta, self.states, multiprocessors(self.device))
        self.u, self.delta, self.B, self.C = map(_volume, (u, delta, B, C))
        self.A2 = (A.float() * LOG2_E).contiguous()
        self.bias = None if delta_bias is None else delta_bias.float().contiguous()
        self.order = None if order is None else order.int().contiguous()
        self.softplus = delta_softplus
        self.tile = {"CHANNELS": CHANNELS, "STATES": self.plan.padded_states, "num_warps": self.plan.warps, **OPTIONS}

    def new(self, *shape: int) -> Tensor:
        """What the kernels write."""
        return torch.empty(shape, dtype=torch.float32, device=self.device)

    def on_device(self) -> AbstractContextManager[Any]:
        """Let launches go to the device of the tensors."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    def _elementwise(self, kernel: Any, out: Tensor, **options: Any) -> None:
        width = min(1 << (self.channels - 1).bit_length(), ELEMENTS)
        rows = ELEMENTS // width
        count = self.batch * self.directions * self.length
        kernel[(-(-count // rows), -(-self.channels // width))](
            self.delta,
            self.bias,
            out,
            self.directions,
            self.length,
            self.channels,
            count,
            BIASED=self.bias is not None,
            ROWS=rows,
            CHANNELS=width,
            **options,
            **OPTIONS,
        )

    def step_sizes(self) -> tuple[Tensor, int, int, int]:
        """Delta with its bias, through softplus."""
        if self.bias is None and not self.softplus:
            return self.delta
        out = self.new(self.batch, self.directions, self.length, self.channels)
        self._elementwise(kernels.step_sizes, out, SOFTPLUS=self.softplus)
        return _volume(out)

    def finish_grad_delta(self, grad: Tensor) -> None:
        """Turn the gradient of the step sizes into that of delta, in place."""
        if self.softplus:
            self._elementwise(kernels.softplus_slopes, grad)

    def voxel_order(self, rows: Tensor) -> Tensor:
        """A volume (B, K, L, N) of the rows in scan order."""
        if self.order is None:
            return rows
        index = self.order.long()[None, :, :, None].expand(rows.shape)
        return torch.empty_like(rows).scatter_(2, index, rows)

    def chunk_starts(
        self, x: tuple[Tensor, int, int, int], dt: Any, m: Any, initial: Tensor | None, adjoint: bool
    ) -> Tensor:
        """What every chunk gets from its neighbor, (B, K, chunks, E, N); see `kernels.chunk_ends`."""
        plan, sequences = self.plan, self.batch * self.directions
        ends = self.new(self.batch, self.directions, plan.chunks, self.channels, self.states)
        totals = self.new(*ends.shape[:-1])
        kernels.chunk_ends[(sequences * plan.chunks * plan.blocks,)](
            x,
            dt,
            self.A2,
            m,
            self.order,
            ends,
            totals,
            self.directions,
            self.length,
            self.channels,
            self.states,
            plan.blocks,
            plan.chunk,
            plan.chunks,
            ADJOINT=adjoint,
            ORDERED=self.order is not None,
            UNROLL=UNROLL,
            **self.tile,
        )
        starts = torch.empty_like(ends)
        kernels.chunk_starts[(sequences * plan.blocks,)](
            ends,
            totals,
            self.A2,
            initial,
            starts,
            self.directions,
            self.channels,
            self.states,
            plan.blocks,
            plan.chunks,
            ADJOINT=adjoint,
            ZERO=initial is None,
            **self.tile,
        )
        return starts


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
    """Forward of the scan; arguments and results as in `torch_scan.forward`."""
    problem = _Problem(u, delta, A, B, C, delta_bias, order, delta_softplus)
    plan = problem.plan
    batch, directions, length, channels = delta.shape
    y = problem.new(*delta.shape)
    last_state = problem.new(batch, directions, channels, problem.states)
    saved = problem.new(*saved_shape(delta, problem.states)) if save else problem.new(0)
    with problem.on_device():
        dt = problem.step_sizes()
        starts = None
        if plan.chunks > 1:
            starts = problem.chunk_starts(problem.u, dt, problem.B, None, adjoint=False)
        kernels.scan[(batch * directions * plan.chunks * plan.blocks,)](
            problem.u,
            dt,
            problem.A2,
            problem.B,
            problem.C,
            problem.order,
            starts,
            y,
            saved,
            last_state,
            directions,
            length,
            channels,
            problem.states,
            plan.blocks,
            plan.chunk,
            plan.chunks,
            -(-length // INTERVAL),
            SAVE=save,
            CHUNKED=starts is not None,
            ORDERED=order is not None,
            UNROLL=UNROLL,
            INTERVAL=INTERVAL,
            **problem.tile,
        )
    return (_sum(y, 1) if merge else y), last_state, saved


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
    """Backward of the scan; arguments and results as in `torch_scan.backward`."""
    problem = _Problem(u, delta, A, B, C, delta_bias, order, delta_softplus)
    plan = problem.plan
    batch, directions, length, channels = delta.shape
    programs = batch * directions * plan.chunks * plan.blocks
    grad = _volume(grad_y.unsqueeze(1) if merge else grad_y)
    starts = None if grad_last_state is None else grad_last_state.float().contiguous()
    grad_u, grad_delta = problem.new(*delta.shape), problem.new(*delta.shape)
    grad_a = problem.new(batch, directions, plan.chunks, channels, problem.states)
    grad_b, grad_c = (problem.new(plan.blocks, *tensor.shape) for tensor in (B, C))
    with problem.on_device():
        dt = problem.step_sizes()
        if plan.chunks > 1:
            starts = problem.chunk_starts(grad, dt, problem.C, starts, adjoint=True)
        kernels.scan_adjoint[(programs,)](
            grad,
            problem.u,
            dt,
            problem.A2,
            problem.B,
            problem.C,
            problem.order,
            saved,
            starts,
            problem.new(programs, INTERVAL // UNROLL, CHANNELS, plan.padded_states),
            grad_u,
            grad_delta,
            grad_a,
            grad_b,
            grad_c,
            directions,
            length,
            channels,
            problem.states,
            plan.blocks,
            plan.chunk,
            plan.chunks,
            -(-length // INTERVAL),
            batch * directions,
            ZERO=starts is None,
            ORDERED=order is not None,
            UNROLL=UNROLL,
            INTERVAL=INTERVAL,
            **problem.tile,
        )
        problem.finish_grad_delta(grad_delta)
    grad_bias = grad_delta.sum((0, 2))
    return (
        (grad_u if u.shape[1] == directions else grad_u.sum(1, keepdim=True)).to(u.dtype),
        grad_delta.to(delta.dtype),
        grad_a.sum((0, 2)).to(A.dtype),
        problem.voxel_order(_sum(grad_b, 0)).to(B.dtype),
        problem.voxel_order(_sum(grad_c, 0)).to(C.dtype),
        grad_bias if delta_bias is None else grad_bias.to(delta_bias.dtype),
    )


def _sum(tensor: Tensor, dim: int) -> Tensor:
    """Sum over a dimension, without a copy where it has one element."""
    return tensor.squeeze(dim) if tensor.shape[dim] == 1 else tensor.sum(dim)
