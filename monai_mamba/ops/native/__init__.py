"""The selective scan as compiled code for CPUs: one C++ file, loaded through ctypes.

The library is compiled with the system's compiler for the first scan that is large enough or asks for it, and kept in
the user's cache folder; see `loading`. Nothing happens at import, and without a compiler nothing is lost but speed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import DeviceError
from ..problem import Gradients, ResultGradients, Results, ScanInputs
from .kernel import Kernel, saved_shape
from .loading import Loader

__all__ = ["DEVICE_TYPE", "WORTHWHILE", "backward", "forward", "obstacle", "saved_shape"]

DEVICE_TYPE = "cpu"
# State updates, B K L E N, from which a scan takes the kernel unasked. The kernel is faster at every size, but a few
# milliseconds are not worth a second of compiling. The size alone decides, not what was computed before, so that equal
# scans give equal bits.
WORTHWHILE = 1 << 20
loader = Loader()


def obstacle(device: torch.device, dtype: torch.dtype, states: int) -> str:
    """Say why the kernel cannot be used here, compiled now if need be; empty if it can, for every scan of its type."""
    return loader.obstacle()


def _kernel() -> Kernel:
    reason = "" if loader.kernel else loader.obstacle()
    if loader.kernel is None:
        raise DeviceError(f"The native scan cannot run: {reason}. Use backend='torch'.")
    return loader.kernel


def forward(inputs: ScanInputs, save: bool) -> Results:
    """Forward of the scan, as in `problem`.

    Raises:
        InputError: a tensor is not on the CPU, or order is no permutation of the tokens.
        DeviceError: the kernel cannot be had on this machine.
    """
    return _kernel().forward(inputs, save)


def backward(grads: ResultGradients, saved: Tensor, inputs: ScanInputs) -> Gradients:
    """Backward of the scan, as in `problem`, with the errors of the forward."""
    return _kernel().backward(grads, saved, inputs)
