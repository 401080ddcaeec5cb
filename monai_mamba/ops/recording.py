"""Whether operations are being written down, to run elsewhere."""

from __future__ import annotations

import torch


def are_fake() -> bool:
    """Whether tensors hold no numbers: under a FakeTensorMode, which also stands behind torch.compile and export."""
    return type(torch.empty(0, device="cpu")) is not torch.Tensor


def is_recording() -> bool:
    """True under torch.export, the ONNX exporter and torch.jit.trace; False under torch.compile, which runs here."""
    return torch.compiler.is_exporting() or (not torch.compiler.is_compiling() and torch.jit.is_tracing())


def arange_beside(x: torch.Tensor, stop: int) -> torch.Tensor:
    """0 .. stop - 1 on the device of x, in int64; what is recorded follows x to the device where it runs."""
    if is_recording():  # torch.arange would write this device down
        return x.new_ones(stop, dtype=torch.long).cumsum(0) - 1
    return torch.arange(stop, device=x.device)
