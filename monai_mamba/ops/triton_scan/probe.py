"""Whether the Triton kernels can be used, found out when a scan first needs to know."""

from __future__ import annotations

import functools

import torch

from ..recording import are_fake
from ..self_check import TOLERANCE, as_in_networks, largest_error, waves
from . import launch, plan

DEVICE_TYPE = "cuda"
MIN_CAPABILITY = (8, 0)  # compute capability that Triton supports


def obstacle(device: torch.device, dtype: torch.dtype, states: int) -> str:
    """Say why the kernels cannot compute a scan on a GPU within their limits; empty if they can.

    The first call for a device, a type and a number of states (the next power of two) compiles the kernels, which takes
    seconds, and tries them. Triton keeps what it compiled in the user's cache folder.
    """
    if are_fake():
        return "the Triton kernels cannot be tested while tensors have no data (fake or meta tensors)"
    if device.index is None and torch.cuda.is_available():
        device = torch.device("cuda", torch.cuda.current_device())
    return try_kernels(device, dtype, 1 << (states - 1).bit_length())


@functools.cache
def try_kernels(device: torch.device, dtype: torch.dtype, states: int) -> str:
    """Try the kernels that hold so many states, a power of two; the result as in `obstacle`."""
    try:
        if torch.version.cuda is None:
            return "the Triton kernels need an NVIDIA GPU, and this build of PyTorch is for other GPUs"
        capability = torch.cuda.get_device_capability(device)
        if capability < MIN_CAPABILITY:
            needed, found = (".".join(map(str, version)) for version in (MIN_CAPABILITY, capability))
            return f"the Triton kernels need compute capability {needed}, found {found}"
        error = self_check(device, dtype, states)
    except ModuleNotFoundError as failure:
        return f"Triton is not installed ({failure}); it comes with PyTorch's CUDA builds for Linux"
    except Exception as failure:  # of a compiler and a driver: anything
        return f"the Triton kernels do not run here ({type(failure).__name__}: {failure})"
    if not error <= TOLERANCE:
        return f"the Triton kernels compute wrong values here (error {error:.1g})"
    return ""


def self_check(device: torch.device, dtype: torch.dtype, states: int) -> float:
    """Error of the kernels, as `largest_error` gives it, over small scans that stream and that are cut into chunks.

    Two have every option; two are as networks call them, for which Triton compiles other code (aligned rows, short
    types, no gradient of the last state).
    """
    short, long = plan.INTERVAL + 5, 2 * plan.MIN_CHUNK + 3
    scans = [
        (waves(device, dtype, (1, 2, short, 37, states)), True),
        (waves(device, dtype, (1, 1, long, 37, states), plain=True), True),
        (as_in_networks(device, dtype, states, short), False),
        (as_in_networks(device, dtype, states, long), False),
    ]
    return largest_error(launch.forward, launch.backward, scans)
