"""The selective scan as Triton kernels for NVIDIA GPUs.

Triton comes with PyTorch's CUDA builds. It is imported when a scan on a GPU first asks for it, never before, and the
kernels are compiled for the machine at hand; nothing has to be installed. Before a kernel is trusted, a small scan is
compared with plain PyTorch on the same device.

Where the kernels were proven so far: under Triton's interpreter on a CPU, values and all gradients. They compile for
compute capability 9.0 (Triton 3.4 and 3.9) and 8.0 (3.9), but have not run on a GPU yet; ``tools/benchmark.py check``
does that, and measures them.
"""

from __future__ import annotations

import functools
import math
import os
from types import ModuleType

import torch
from torch import Tensor

from .. import torch_scan
from ..recording import are_fake
from . import plan
from .plan import MAX_STATES, saved_shape

__all__ = ["DEVICE_TYPE", "MAX_STATES", "backward", "forward", "obstacle", "saved_shape"]

DEVICE_TYPE = "cuda"
MIN_CAPABILITY = (8, 0)  # compute capability that Triton supports
SELF_CHECK_TOLERANCE = 1e-4  # relative to the largest value


def _kernels() -> ModuleType:
    """The module that imports Triton; whatever a broken installation raises is the caller's to handle."""
    from . import launch

    return launch


def interpreted() -> bool:
    """Whether Triton's interpreter stands in for a GPU, which makes the kernels run, slowly, on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def obstacle(device: torch.device, dtype: torch.dtype = torch.float32, states: int = 16) -> str:
    """Say why the kernels cannot compute a scan; empty if they can.

    The first call for a device, a type and a number of states (the next power of two) compiles the kernels, which takes
    seconds, and tries them. Triton keeps what it compiled in the user's cache folder.

    Args:
        device: where the tensors are.
        dtype: type of u.
        states: number of states N.
    """
    if device.type != DEVICE_TYPE and not interpreted():
        return f"the tensors are on {device.type}, the Triton kernels need {DEVICE_TYPE}"
    if dtype == torch.float64:
        return "the Triton kernels do not compute in float64"
    if states > MAX_STATES:
        return f"the Triton kernels hold at most {MAX_STATES} states, found {states}"
    if are_fake():
        return "the Triton kernels cannot be tried while tensors hold no numbers"
    if device.type == DEVICE_TYPE and device.index is None and torch.cuda.is_available():
        device = torch.device("cuda", torch.cuda.current_device())
    return _probe(device, dtype, 1 << (states - 1).bit_length())


@functools.cache
def _probe(device: torch.device, dtype: torch.dtype, states: int) -> str:
    """Try the kernels that hold so many states, a power of two; the result as in `obstacle`."""
    try:
        if device.type != DEVICE_TYPE:
            _kernels()
            return ""  # an interpreter compiles nothing that could go wrong
        if torch.version.cuda is None:
            return "the Triton kernels are made for NVIDIA GPUs, and this PyTorch is built for others"
        capability = torch.cuda.get_device_capability(device)
        if capability < MIN_CAPABILITY:
            needed, found = (".".join(map(str, version)) for version in (MIN_CAPABILITY, capability))
            return f"the Triton kernels need compute capability {needed}, found {found}"
        error = self_check(device, dtype, states)
    except ModuleNotFoundError as failure:
        return f"Triton is not installed ({failure}); it comes with PyTorch's CUDA builds for Linux"
    except Exception as failure:  # of a compiler and a driver: anything
        return f"the Triton kernels do not run here ({type(failure).__name__}: {failure})"
    if not error <= SELF_CHECK_TOLERANCE:
        return f"the Triton kernels compute wrong values here (error {error:.1g})"
    return ""


def self_check(device: torch.device, dtype: torch.dtype, states: int) -> float:
    """Largest difference between kernels and float64 in plain PyTorch, relative to the largest value.

    Over all results of small scans that stream and that are cut into chunks: two with every option, and two as networks
    call them, for which Triton compiles other code (aligned rows, short types, no gradient of the last state).
    """
    kernels = _kernels()
    errors = []
    short, long = plan.INTERVAL + 5, 2 * plan.MIN_CHUNK + 3
    problems = [
        (_waves(device, dtype, states, short, plain=False), True),
        (_waves(device, dtype, states, long, plain=True), True),
        (_as_in_networks(device, dtype, states, short), False),
        (_as_in_networks(device, dtype, states, long), False),
    ]
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        for inputs, last_state_counts in problems:
            results = []
            for scan, kind in ((torch_scan, torch.float64), (kernels, None)):
                mine = [value.to(kind) if kind and isinstance(value, Tensor) else value for value in inputs[:6]]
                y, last_state, saved = scan.forward(*mine, *inputs[6:], True)
                grads = scan.backward(y, last_state if last_state_counts else None, saved, *mine, *inputs[6:])
                inferred = scan.forward(*mine, *inputs[6:], False)[0]
                results.append((y, last_state, inferred, *grads))
            for right, found in zip(*results, strict=True):
                scale = right.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
                # what comes back in a short type is as good as that type
                slack = 2 * torch.finfo(found.dtype).eps
                errors.append(float((found.double() - right).abs().max() / scale) - slack)
    return max(errors) if all(map(math.isfinite, errors)) else math.nan


def _wave(device: torch.device, *shape: int) -> Tensor:
    return torch.arange(math.prod(shape), dtype=torch.float32, device=device).mul_(0.7).sin_().view(shape)


def _waves(
    device: torch.device, dtype: torch.dtype, states: int, length: int, plain: bool
) -> tuple[Tensor | bool | None, ...]:
    """Inputs of a small scan, not random, with incomplete blocks and intervals; in scan order if ``plain``."""
    batch, directions, channels = 1, 1 if plain else 2, 37
    token = torch.arange(length, device=device, dtype=torch.int32)
    order = None if plain else torch.stack([token.flip(0), token.roll(7)])
    volume = _wave(device, batch, directions, length, channels)
    rows = _wave(device, batch, directions, length, states).to(dtype)
    u = (volume[:, :1] + 0.5).to(dtype)
    A = -(_wave(device, directions, channels, states) + 1.5)
    bias = None if plain else _wave(device, directions, channels)
    return u, volume - 1, A, rows, rows.flip(2), bias, order, True, not plain


def _as_in_networks(
    device: torch.device, dtype: torch.dtype, states: int, length: int
) -> tuple[Tensor | bool | None, ...]:
    """Inputs of a small scan in the types and strides that `SS3D` has under autocast."""
    batch, directions, channels = 1, 2, 64
    token = torch.arange(length, device=device)
    order = torch.stack([token.flip(0), token.roll(7)])
    u = _wave(device, batch, 1, channels, length).to(dtype).transpose(2, 3)  # channels first in memory
    rows = _wave(device, batch, length, directions, 2 * states).to(dtype).transpose(1, 2)  # parts of one projection
    delta = _wave(device, batch, directions, length, channels).to(dtype)
    A = -(_wave(device, directions, channels, states) + 1.5)
    bias = _wave(device, directions, channels) - 1
    return u, delta, A, rows[..., :states], rows[..., states:], bias, order, True, True


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
    """Forward of the scan; arguments and results as in `torch_scan.forward`. ``order`` is not checked."""
    return _kernels().forward(u, delta, A, B, C, delta_bias, order, delta_softplus, merge, save)


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
    return _kernels().backward(
        grad_y, grad_last_state, saved, u, delta, A, B, C, delta_bias, order, delta_softplus, merge
    )
