"""The selective scan as compiled code for CPUs: one C++ file, loaded through ctypes.

The library is compiled with the system's compiler when a scan first asks for it, and kept in the user's cache folder;
see `loading`. Nothing happens at import, and without a compiler nothing is lost but speed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...errors import DeviceError
from .kernel import Kernel, saved_shape
from .loading import Loader

__all__ = ["DEVICE_TYPE", "backward", "forward", "obstacle", "saved_shape"]

DEVICE_TYPE = "cpu"
loader = Loader()


def obstacle(dtype: torch.dtype) -> str:
    """Say why the kernel cannot compute a scan with u of this type; empty if it can, compiled now if need be."""
    if dtype == torch.float64:
        return "the native kernel does not compute in float64"
    return loader.obstacle()


def _kernel() -> Kernel:
    reason = "" if loader.kernel else loader.obstacle()
    if loader.kernel is None:
        raise DeviceError(f"The native scan cannot run: {reason}. Use backend='torch'.")
    return loader.kernel


def forward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Forward of the scan; arguments and results as in `torch_scan.forward`.

    Raises:
        InputError: a tensor is not on the CPU, or order names a token that does not exist.
        DeviceError: the kernel cannot be had on this machine.
    """
    return _kernel().forward(*arguments)


def backward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Backward of the scan; arguments and results as in `torch_scan.backward`, errors as in the forward."""
    return _kernel().backward(*arguments)
