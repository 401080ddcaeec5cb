"""The compiled library behind the interface of `problem`."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

import torch
from torch import Tensor

from ...errors import InputError
from ..problem import Gradients, ResultGradients, Results, ScanInputs
from .build import COLUMNS, TOKENS

TASKS = 16  # of the backward at least, where there are channels enough: threads that can work at once
CHANNELS = 2 * COLUMNS  # of a group in the backward at least: short pieces of rows come slowly from memory
LARGE = 1 << 22  # bytes, of tensors that get large pages: two of 2 MiB or more


def saved_shape(delta: Tensor, states: int) -> tuple[int, ...]:
    """Shape of the states which the forward keeps for the backward; delta: (B, K, L, E)."""
    batch, directions, length, channels = delta.shape
    return (batch, directions, -(-length // TOKENS), -(-channels // COLUMNS), states, COLUMNS)


class _Volume(ctypes.Structure):
    """Rows of a volume (B, K, L, F), or (B, 1, L, F) for all directions, as in scan.cpp."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("batch", ctypes.c_int64),
        ("direction", ctypes.c_int64),
        ("token", ctypes.c_int64),
    )

    def __init__(self, tensor: Tensor) -> None:
        batch, direction, token, _ = tensor.stride()
        super().__init__(tensor.data_ptr(), batch, direction if tensor.shape[1] > 1 else 0, token)


class _Problem(ctypes.Structure):
    """What the library computes, as in scan.cpp."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batches", "directions", "length", "channels", "states")),
        *((name, ctypes.c_int64) for name in ("softplus", "merge", "groups")),
        *((name, ctypes.c_void_p) for name in ("order", "A", "bias")),
        *((name, _Volume) for name in ("u", "delta", "B", "C", "y")),
        *((name, ctypes.c_void_p) for name in ("saved", "last_state")),
        *((name, _Volume) for name in ("grad_u", "grad_delta")),
        *((name, ctypes.c_void_p) for name in ("grad_A", "grad_bias", "grad_B", "grad_C")),
    )


class _Inputs:
    """The inputs as the library reads them; alive as long as it does.

    Raises:
        InputError: a tensor is not on the CPU.
    """

    def __init__(self, inputs: ScanInputs) -> None:
        for tensor in (*inputs.tensors, inputs.order):
            if tensor is not None and tensor.device.type != "cpu":
                raise InputError(f"The scan got tensors on cpu and on {tensor.device}: move all of them to one device.")
        u, delta, A, B, C, bias = inputs.tensors
        self.volumes = tuple(map(_rows, (u, delta, B, C)))
        self.A = A.float().contiguous()
        self.bias = None if bias is None else bias.float().contiguous()
        self.order = None if inputs.order is None else inputs.order.long().contiguous()
        self.problem = _Problem(*delta.shape, inputs.states, inputs.delta_softplus, inputs.merge)
        self.problem.A, self.problem.bias, self.problem.order = map(_pointer, (self.A, self.bias, self.order))
        for name, volume in zip(("u", "delta", "B", "C"), self.volumes, strict=True):
            setattr(self.problem, name, _Volume(volume))


def _rows(tensor: Tensor) -> Tensor:
    """The same in float32 with contiguous features."""
    tensor = tensor.float()
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _new(*shape: int) -> Tensor:
    """What the library writes, whatever the default type and device.

    Linux is asked for large pages: with those of 4 KiB, a third of a large scan's time goes into getting them.
    """
    tensor = torch.empty(shape, dtype=torch.float32, device="cpu")
    if hasattr(mmap, "MADV_HUGEPAGE") and tensor.nbytes >= LARGE:
        start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        length = tensor.data_ptr() + tensor.nbytes - start
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)
    return tensor


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


class Kernel:
    """A compiled library.

    Args:
        library: its file.

    Raises:
        OSError: the file is not a library for this machine.
        AttributeError: it is another one.
    """

    def __init__(self, library: Path) -> None:
        functions = ctypes.CDLL(str(library))
        self.lanes: int = functions.monai_mamba_lanes()
        self._scan = functions.monai_mamba_scan
        self._scan.argtypes = (ctypes.POINTER(_Problem), ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
        try:  # the threads that PyTorch already has: a second set would compete with them for the processor
            self._team = ctypes.cast(ctypes.CDLL(None).GOMP_parallel, ctypes.c_void_p)
        except AttributeError:
            self._team = None

    def _run(self, problem: _Problem, backward: bool) -> None:
        status = self._scan(problem, backward, torch.get_num_threads(), self._team)
        if status == 1:
            raise InputError(f"order: expected each of the tokens 0 .. {problem.length - 1} once in every direction.")
        if status:
            raise MemoryError("The C++ scan: out of memory.")

    def forward(self, inputs: ScanInputs, save: bool) -> Results:
        """Forward of the scan, as in `problem`."""
        native = _Inputs(inputs)
        y, last_state = _new(*inputs.y_shape), _new(*inputs.state_shape)
        saved = _new(*saved_shape(inputs.delta, inputs.states)) if save else _new(0)
        problem = native.problem
        problem.y = _Volume(y.unsqueeze(1) if inputs.merge else y)
        problem.last_state, problem.saved = _pointer(last_state), _pointer(saved) if save else None
        self._run(problem, backward=False)
        return y, last_state, saved

    def backward(self, grads: ResultGradients, saved: Tensor, inputs: ScanInputs) -> Gradients:
        """Backward of the scan, as in `problem`."""
        native = _Inputs(inputs)
        grad_y, grad_last_state = grads
        delta, A = inputs.delta, inputs.A
        batch, directions, _, channels = delta.shape
        groups = min(-(-channels // CHANNELS), -(-TASKS // (batch * directions)))
        grad_y = _rows(grad_y.unsqueeze(1) if inputs.merge else grad_y)
        if grad_last_state is not None:
            grad_last_state = grad_last_state.float().contiguous()
        grad_u, grad_delta = _new(*delta.shape), _new(*delta.shape)
        grad_a, grad_bias = _new(batch, *A.shape), _new(batch, *A.shape[:2])
        grad_b, grad_c = _new(groups, *inputs.B.shape), _new(groups, *inputs.C.shape)

        problem = native.problem
        problem.groups = groups
        problem.y, problem.grad_u, problem.grad_delta = map(_Volume, (grad_y, grad_u, grad_delta))
        problem.saved, problem.last_state = _pointer(saved), _pointer(grad_last_state)
        problem.grad_A, problem.grad_bias = _pointer(grad_a), _pointer(grad_bias)
        problem.grad_B, problem.grad_C = _pointer(grad_b), _pointer(grad_c)
        self._run(problem, backward=True)
        sums = (partial.sum(0) for partial in (grad_a, grad_b, grad_c, grad_bias))
        return inputs.gradients(grad_u, grad_delta, *sums)
