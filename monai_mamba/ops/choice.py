"""The choice of who computes a scan, what is said about it, and how users set it."""

from __future__ import annotations

import functools
import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from ..errors import InputError
from . import native
from .custom_ops import IMPLEMENTATIONS
from .recording import is_recording

BACKENDS = ("auto", "reference", "torch", "native", "triton", "mamba_ssm", "export")
VARIABLE = "MONAI_MAMBA_SCAN"
WINDOW = (1, 8, 216, 128)  # (B, K, L, E) of a scan of medsegmamba_small in a window of 96 mm

_setting = os.environ.get(VARIABLE, "auto")


def _checked(backend: str) -> str:
    if backend not in BACKENDS:
        raise InputError(f"Unknown scan backend {backend!r}: expected one of {', '.join(BACKENDS)} (see {VARIABLE}).")
    return backend


def set_scan_backend(backend: str) -> None:
    """Set who computes the scans that do not say so themselves; at first it is ``MONAI_MAMBA_SCAN`` of the environment.

    Args:
        backend: "auto" (the fastest that can be used), "reference" (slow, readable), "torch" (plain PyTorch, any
            device), "native" (C++ for the CPU, compiled when first used), "triton" (kernels for NVIDIA GPUs),
            "mamba_ssm" (the CUDA kernel of mamba-ssm) or "export" (standard operators, for graphs that run without this
            package). Where "native", "triton" or "mamba_ssm" cannot be used, "torch" with a warning; while a graph is
            recorded, "export".

    Raises:
        InputError: the name is not one of these.
    """
    global _setting
    _setting = _checked(backend)


@contextmanager
def scan_backend(backend: str) -> Iterator[None]:
    """Set who computes the scans within a ``with`` block; see `set_scan_backend`."""
    before = _setting
    set_scan_backend(backend)
    try:
        yield
    finally:
        set_scan_backend(before)


@functools.cache
def warn_once(text: str) -> None:
    """Warn, the first time."""
    warnings.warn(text, stacklevel=5)  # the line that called the scan


def _constant_in_graphs(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `torch.compiler.assume_constant_result`, which would import torch.compile, a second that few need."""
    function._dynamo_marked_constant = True
    return function


@_constant_in_graphs
def warn_while_tracing(text: str) -> bool:
    """Warn, the first time, also from a function that torch.compile is reading."""
    warn_once(text)
    return True


class Scan(NamedTuple):
    """What the choice depends on, besides the machine: the device, the type of u, and more.

    Attributes:
        states: number of states N.
        updates: state updates, B K L E N.
        ordered: volumes are read along index tables.
        state_gradient: a gradient flows through the last state.
    """

    device: torch.device
    dtype: torch.dtype
    states: int
    updates: int
    ordered: bool = True
    state_gradient: bool = False


class Choice(NamedTuple):
    """Who computes a scan and why; `warn` where that is slower than what the user has reason to expect."""

    name: str
    reason: str
    warn: bool = False


def _compiled(scan: Scan) -> tuple[str, ...]:
    """Compiled implementations, the first that can be used is taken. Only those in Triton and C++ read along tables."""
    return ("triton", "mamba_ssm", "native") if scan.ordered else ("mamba_ssm", "triton", "native")


def _limit(name: str, scan: Scan, asked: bool = True) -> str:
    """Say why a compiled implementation is not made for a scan, or not worth it unless asked for; empty if it is."""
    module = IMPLEMENTATIONS[name]
    if scan.device.type != module.DEVICE_TYPE:
        return f"the tensors are on {scan.device.type}, {name} needs {module.DEVICE_TYPE}"
    if scan.dtype == torch.float64:
        return f"{name} does not compute in float64"
    if name != "native" and scan.states > module.MAX_STATES:
        return f"{name} holds at most {module.MAX_STATES} states, found {scan.states}"
    if name == "mamba_ssm" and scan.state_gradient:
        return "mamba_ssm has no gradient of the last state"
    if not asked and name == "native" and scan.updates < native.WORTHWHILE:
        return f"the scan has fewer than {native.WORTHWHILE:,} state updates"
    return ""


@_constant_in_graphs
def _obstacle(name: str, device: torch.device, dtype: torch.dtype, states: int) -> str:
    """Say why a compiled implementation cannot be used on this machine; empty if it can. It is tried to find out."""
    return IMPLEMENTATIONS[name].obstacle(device, dtype, states)


def choose(scan: Scan, backend: str = "auto") -> Choice:
    """Choose the implementation for a scan; `backend` is what the caller asks for, "auto" leaves it to the setting.

    Equal scans are computed alike throughout a process, and in every process on the same machine: nothing depends on
    what was computed before.

    Raises:
        InputError: the backend's name is unknown.
    """
    wanted = _checked(_setting if backend == "auto" else backend)
    if wanted in ("reference", "torch", "export"):
        return Choice(wanted, "it was asked for")
    if is_recording():
        return Choice("export", "what is recorded may run elsewhere")
    if wanted != "auto":
        obstacle = _limit(wanted, scan) or _obstacle(wanted, *scan[:3])
        return Choice("torch", obstacle, warn=True) if obstacle else Choice(wanted, "it was asked for, and works here")
    obstacles, warn = [], False
    for name in _compiled(scan):
        if scan.device.type != IMPLEMENTATIONS[name].DEVICE_TYPE:
            continue
        obstacle = _limit(name, scan, asked=False)
        if not obstacle:
            obstacle = _obstacle(name, *scan[:3])
            if not obstacle:
                return Choice(name, "it is the fastest that works here")
            warn = warn or name != "native"  # a machine without a compiler is as good as any
        obstacles.append(obstacle)
    return Choice("torch", "; ".join(obstacles) or f"nothing faster runs on {scan.device.type}", warn)


def explain(
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    states: int = 16,
    backend: str = "auto",
    *,
    shape: tuple[int, int, int, int] = WINDOW,
    ordered: bool = True,
) -> str:
    """Say which implementation would compute a scan and why, and why not each of the others.

    Those that need it are compiled or imported, and tried.

    Args:
        device: where the tensors would be.
        dtype: type of the input.
        states: number of states N.
        backend: as in `selective_scan`.
        shape: (B, K, L, E), see `problem`; the default is that of the small MedSegMamba in its usual window.
        ordered: volumes are read along index tables, as in `cross_selective_scan` with an ``order``.

    Returns:
        Lines: the choice, such as "native: it is the fastest that works here"; one for each implementation; the scan.

    Raises:
        InputError: the backend's name is unknown.
    """
    scan = Scan(torch.device(device), dtype, states, math.prod(shape) * states, ordered)
    choice = choose(scan, backend)
    wanted = _setting if backend == "auto" else backend
    lines = [f"{choice.name}: {choice.reason}"]
    for name in _compiled(scan):
        obstacle = _limit(name, scan, asked=wanted != "auto") or _obstacle(name, *scan[:3])
        lines.append(f"- {name}: {obstacle or 'can be used'}")
    lines += [
        "- torch: can be used everywhere",
        "- reference: can be used everywhere, on request only",
        "- export: can be used everywhere, on request and for graphs that are recorded",
    ]
    sizes = ", ".join(f"{symbol} = {size}" for symbol, size in zip("BKLEN", (*shape, states), strict=True))
    kind = str(dtype).removeprefix("torch.")
    lines.append(f"Asked for: {wanted}. Scan: {kind} on {scan.device}, {sizes}; {scan.updates:,} state updates.")
    return "\n".join(lines)
