"""The kernels behind the interface of `problem`. Triton is imported when they are first called."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ..problem import LOG2_E, Gradients, ResultGradients, Results, ScanInputs
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
    """A scan as the kernels read it, and where results go."""

    def __init__(self, inputs: ScanInputs) -> None:
        from . import kernels

        self.kernels = kernels
        u, delta, A, B, C, bias = inputs.tensors
        self.batch, self.directions, self.length, self.channels = delta.shape
        self.states = inputs.states
        self.device = delta.device
        self.plan = plan = plan_scan(delta, self.states, multiprocessors(self.device))
        self.programs = self.batch * self.directions * plan.chunks * plan.blocks
        self.u, self.delta, self.B, self.C = map(_volume, (u, delta, B, C))
        self.A2 = (A.float() * LOG2_E).contiguous()
        self.bias = None if bias is None else bias.float().contiguous()
        self.order = None if inputs.order is None else inputs.order.int().contiguous()
        self.softplus = inputs.delta_softplus
        self.sizes = (*delta.shape[1:], self.states, plan.blocks, plan.chunk, plan.chunks)
        self.intervals = -(-self.length // INTERVAL)
        self.tile = {"CHANNELS": CHANNELS, "STATES": plan.padded_states, "num_warps": plan.warps, **OPTIONS}
        self.walk = {"ORDERED": self.order is not None, "UNROLL": UNROLL, **self.tile}

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
        self._elementwise(self.kernels.step_sizes, out, SOFTPLUS=self.softplus)
        return _volume(out)

    def operands(self, dt: Any) -> tuple[Any, ...]:
        """What both passes of the scan read, as their kernels take it."""
        return self.u, dt, self.A2, self.B, self.C, self.order

    def finish_grad_delta(self, grad: Tensor) -> None:
        """Turn the gradient of the step sizes into that of delta, in place."""
        if self.softplus:
            self._elementwise(self.kernels.softplus_slopes, grad)

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
        self.kernels.chunk_ends[(self.programs,)](
            x, dt, self.A2, m, self.order, ends, totals, *self.sizes, ADJOINT=adjoint, **self.walk
        )
        starts = torch.empty_like(ends)
        self.kernels.chunk_starts[(sequences * plan.blocks,)](
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


def forward(inputs: ScanInputs, save: bool) -> Results:
    """Forward of the scan, as in `problem`."""
    problem = _Problem(inputs)
    y, last_state = problem.new(*inputs.delta.shape), problem.new(*inputs.state_shape)
    saved = problem.new(*saved_shape(inputs.delta, inputs.states)) if save else problem.new(0)
    with problem.on_device():
        dt = problem.step_sizes()
        starts = None
        if problem.plan.chunks > 1:
            starts = problem.chunk_starts(problem.u, dt, problem.B, None, adjoint=False)
        problem.kernels.scan[(problem.programs,)](
            *problem.operands(dt),
            starts,
            y,
            saved,
            last_state,
            *problem.sizes,
            problem.intervals,
            SAVE=save,
            CHUNKED=starts is not None,
            INTERVAL=INTERVAL,
            **problem.walk,
        )
    return (_sum(y, 1) if inputs.merge else y), last_state, saved


def backward(grads: ResultGradients, saved: Tensor, inputs: ScanInputs) -> Gradients:
    """Backward of the scan, as in `problem`."""
    problem = _Problem(inputs)
    plan = problem.plan
    grad_y, starts = grads
    grad = _volume(grad_y.unsqueeze(1) if inputs.merge else grad_y)
    if starts is not None:
        starts = starts.float().contiguous()
    grad_u, grad_delta = problem.new(*inputs.delta.shape), problem.new(*inputs.delta.shape)
    grad_a = problem.new(problem.batch, problem.directions, plan.chunks, problem.channels, problem.states)
    grad_b, grad_c = (problem.new(plan.blocks, *tensor.shape) for tensor in (inputs.B, inputs.C))
    with problem.on_device():
        dt = problem.step_sizes()
        if plan.chunks > 1:
            starts = problem.chunk_starts(grad, dt, problem.C, starts, adjoint=True)
        problem.kernels.scan_adjoint[(problem.programs,)](
            grad,
            *problem.operands(dt),
            saved,
            starts,
            problem.new(problem.programs, INTERVAL // UNROLL, CHANNELS, plan.padded_states),
            grad_u,
            grad_delta,
            grad_a,
            grad_b,
            grad_c,
            *problem.sizes,
            problem.intervals,
            problem.batch * problem.directions,
            ZERO=starts is None,
            INTERVAL=INTERVAL,
            **problem.walk,
        )
        problem.finish_grad_delta(grad_delta)
    grad_b, grad_c = (problem.voxel_order(_sum(rows, 0)) for rows in (grad_b, grad_c))
    return inputs.gradients(grad_u, grad_delta, grad_a.sum((0, 2)), grad_b, grad_c, grad_delta.sum((0, 2)))


def _sum(tensor: Tensor, dim: int) -> Tensor:
    """Sum over a dimension, without a copy where it has one element."""
    return tensor.squeeze(dim) if tensor.shape[dim] == 1 else tensor.sum(dim)
