"""The selective scan as networks call it, and the choice of who computes it."""

from __future__ import annotations

import functools
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import silu

from ..errors import InputError
from . import mamba_ssm, native
from .custom_ops import IMPLEMENTATIONS, scan_forward
from .reference import reference_scan

BACKENDS = ("auto", "reference", "torch", "native", "mamba_ssm")
VARIABLE = "MONAI_MAMBA_SCAN"
PREFERENCE = ("mamba_ssm", "native")  # compiled implementations, the first that can be used is taken
WINDOW = (1, 8, 216, 128)  # (B, K, L, E) of a scan of medsegmamba_small in a window of 96 mm

_setting = os.environ.get(VARIABLE, "auto")


def _checked(backend: str) -> str:
    if backend not in BACKENDS:
        raise InputError(f"Unknown scan backend {backend!r}: expected one of {', '.join(BACKENDS)} (see {VARIABLE}).")
    return backend


def set_scan_backend(backend: str) -> None:
    """Set who computes the scans that do not say so themselves.

    The environment variable ``MONAI_MAMBA_SCAN`` gives the setting at the start.

    Args:
        backend: "auto" (the fastest that can be used), "reference" (slow, readable), "torch" (plain PyTorch, any
            device), "native" (C++ for the CPU, compiled when first used) or "mamba_ssm" (the CUDA kernel of mamba-ssm).
            Where one of the last two cannot be used, "torch" with a warning.

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


@torch.compiler.assume_constant_result
def _warn_while_tracing(text: str) -> bool:
    warn_once(text)
    return True


class Scan(NamedTuple):
    """What the choice depends on, besides the machine.

    Attributes:
        device: where the tensors are.
        dtype: type of u.
        states: number of states N.
        updates: state updates, B K L E N.
        state_gradient: a gradient flows through the last state.
    """

    device: torch.device
    dtype: torch.dtype
    states: int
    updates: int
    state_gradient: bool = False


class Choice(NamedTuple):
    """Who computes a scan.

    Attributes:
        name: of the implementation.
        reason: why this one.
        warn: it is slower than what the user has reason to expect.
    """

    name: str
    reason: str
    warn: bool = False


def _limit(name: str, scan: Scan) -> str:
    """Say why a compiled implementation is not made for a scan; empty if it is."""
    device_type = IMPLEMENTATIONS[name].DEVICE_TYPE
    if scan.device.type != device_type:
        return f"the tensors are on {scan.device.type}, {name} needs {device_type}"
    if scan.dtype == torch.float64:
        return f"{name} does not compute in float64"
    if name == "mamba_ssm" and scan.states > mamba_ssm.MAX_STATES:
        return f"{name} holds at most {mamba_ssm.MAX_STATES} states, found {scan.states}"
    if name == "mamba_ssm" and scan.state_gradient:
        return f"{name} has no gradient of the last state"
    return ""


def _unasked(name: str, scan: Scan) -> str:
    """Say why a compiled implementation is left alone unless it is asked for; empty if it is not."""
    if name == "native" and scan.updates < native.WORTHWHILE:
        return f"the scan has fewer than {native.WORTHWHILE:,} state updates"
    return ""


@torch.compiler.assume_constant_result
def _obstacle(name: str, device: torch.device, dtype: torch.dtype, states: int) -> str:
    """Say why a compiled implementation cannot be used on this machine; empty if it can. It is tried to find out."""
    return IMPLEMENTATIONS[name].obstacle(device, dtype, states)


def _recording() -> bool:
    """Whether the operations are being written down, to run elsewhere."""
    return torch.compiler.is_exporting() or (not torch.compiler.is_compiling() and torch.jit.is_tracing())


def choose(scan: Scan, backend: str = "auto") -> Choice:
    """Choose the implementation for a scan.

    Equal scans are computed alike throughout a process, and in every process on the same machine: nothing depends on
    what was computed before.

    Args:
        scan: the scan.
        backend: what the caller asks for; "auto" leaves it to the setting.

    Raises:
        InputError: the backend's name is unknown.
    """
    wanted = _checked(_setting if backend == "auto" else backend)
    if wanted in ("reference", "torch"):
        return Choice(wanted, "it was asked for")
    if _recording():
        return Choice("torch", "what is recorded may run on another machine", warn=wanted != "auto")
    if wanted != "auto":
        obstacle = _limit(wanted, scan) or _obstacle(wanted, *scan[:3])
        return Choice("torch", obstacle, warn=True) if obstacle else Choice(wanted, "it was asked for, and works here")
    obstacles, warn = [], False
    for name in PREFERENCE:
        if scan.device.type != IMPLEMENTATIONS[name].DEVICE_TYPE:
            continue
        obstacle = _unasked(name, scan) or _limit(name, scan)
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
) -> str:
    """Say which implementation would compute a scan and why, and why not each of the others.

    Those that need it are compiled or imported, and tried.

    Args:
        device: where the tensors would be.
        dtype: type of the input.
        states: number of states N.
        backend: as in `selective_scan`.
        shape: (B, K, L, E): batch, directions (or groups of channels), tokens, channels of each direction. The default
            is that of the small MedSegMamba in its usual window.

    Returns:
        Lines: the choice, such as "native: it is the fastest that works here"; one for each implementation; the scan.

    Raises:
        InputError: the backend's name is unknown.
    """
    scan = Scan(torch.device(device), dtype, states, math.prod(shape) * states)
    choice = choose(scan, backend)
    wanted = _setting if backend == "auto" else backend
    lines = [f"{choice.name}: {choice.reason}"]
    for name in PREFERENCE:
        obstacle = _limit(name, scan) or (wanted == "auto" and _unasked(name, scan)) or _obstacle(name, *scan[:3])
        lines.append(f"- {name}: {obstacle or 'can be used'}")
    lines.append("- torch: can be used everywhere")
    lines.append("- reference: can be used everywhere, on request only")
    sizes = ", ".join(f"{symbol} = {size}" for symbol, size in zip("BKLEN", (*shape, states), strict=True))
    kind = str(dtype).removeprefix("torch.")
    lines.append(f"Asked for: {wanted}. Scan: {kind} on {scan.device}, {sizes}; {scan.updates:,} state updates.")
    return "\n".join(lines)


def _run(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    delta_bias: Tensor | None,
    order: Tensor | None,
    delta_softplus: bool,
    merge: bool,
    with_state: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Scan in the shapes of `reference`, by the implementation of choice."""
    tensors = (u, delta, A, B, C, delta_bias)
    save = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
    states = A.shape[-1]
    choice = choose(Scan(u.device, u.dtype, states, delta.numel() * states, save and with_state), backend)
    if choice.warn:
        _warn_while_tracing(f"The selective scan runs in plain PyTorch, which gives the same results: {choice.reason}")
    if choice.name == "reference":
        return reference_scan(*tensors, order, delta_softplus, merge)
    y, last_state, _ = scan_forward(*tensors, order, delta_softplus, merge, save, choice.name)
    return y, last_state


def _expect(shapes: dict[str, tuple[Tensor | None, tuple[int, ...]]]) -> None:
    for name, (tensor, shape) in shapes.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise InputError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}.")


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Selective scan (S6) of one sequence per channel, with the arguments and shapes of mamba-ssm.

    h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t and y_t = C_t . h_t + D u_t, gated by silu(z_t); see `reference` for
    the source. The state is computed in float32 whatever the types of the inputs and the autocast state (float64 for
    float64 inputs).

    Args:
        u: (B, D, L) input.
        delta: (B, D, L) step size, positive after bias and softplus.
        A: (D, N), negative for a state that decays.
        B: (B, N, L), or (B, G, N, L) for G groups of D / G successive channels.
        C: as B.
        D: (D,) skip connection, or None.
        z: (B, D, L) gate, or None.
        delta_bias: (D,) added to delta, or None.
        delta_softplus: pass delta + delta_bias through softplus.
        return_last_state: return the last state too.
        backend: see `set_scan_backend`.

    Returns:
        y, (B, D, L), in the type of u; with ``return_last_state`` also the state after the last token, (B, D, N).

    Raises:
        InputError: a shape does not fit, or the backend is unknown.
    """
    batch, channels, length = u.shape
    states = A.shape[-1]
    if B.ndim == 3:
        B, C = B.unsqueeze(1), C.unsqueeze(1)
    groups = B.shape[1]
    if channels % groups:
        raise InputError(f"B has {groups} groups, which do not divide the {channels} channels of u.")
    _expect(
        {
            "delta": (delta, (batch, channels, length)),
            "A": (A, (channels, states)),
            "B": (B, (batch, groups, states, length)),
            "C": (C, (batch, groups, states, length)),
            "D": (D, (channels,)),
            "z": (z, (batch, channels, length)),
            "delta_bias": (delta_bias, (channels,)),
        }
    )
    rows_u, rows_delta = (tensor.unflatten(1, (groups, -1)).transpose(2, 3) for tensor in (u, delta))
    group_a = A.unflatten(0, (groups, -1))
    group_bias = None if delta_bias is None else delta_bias.unflatten(0, (groups, -1))
    y, last_state = _run(
        rows_u,
        rows_delta,
        group_a,
        B.transpose(2, 3),
        C.transpose(2, 3),
        group_bias,
        None,
        delta_softplus,
        False,
        return_last_state,
        backend,
    )
    y = y.transpose(2, 3).flatten(1, 2)
    if D is not None:
        y = y + u * D.to(y.dtype)[:, None]
    if z is not None:
        y = y * silu(z.to(y.dtype))
    y = y.to(u.dtype)
    return (y, last_state.flatten(1, 2)) if return_last_state else y


def cross_selective_scan(
    x: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    order: Tensor | None,
    *,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = True,
    merge: str | None = "sum",
    backend: str = "auto",
) -> Tensor:
    """Selective scans of one volume along K traversals at once.

    All tensors are in voxel order, whatever the traversal: projections are made once per voxel, and ``order`` permutes
    inside the scan. The result equals gathering K sequences, scanning each, scattering back and summing; see Liu et
    al., "VMamba: Visual State Space Model", 2024 (cross-scan and cross-merge).

    Args:
        x: (B, L, E) input shared by all directions, or (B, K, L, E), one per direction.
        delta: (B, K, L, E) step size.
        A: (K, E, N), negative for a state that decays.
        B: (B, K, L, N).
        C: (B, K, L, N).
        D: (K, E) skip connections, or None.
        order: (K, L) integers: step t of direction k reads and writes voxel order[k, t]; each row a permutation of
            0 .. L - 1, which is not checked. None where the tensors are in scan order already.
        delta_bias: (K, E) added to delta, or None.
        delta_softplus: pass delta + delta_bias through softplus.
        merge: "sum" adds up the directions, None keeps them apart.
        backend: see `set_scan_backend`.

    Returns:
        (B, L, E), or (B, K, L, E) without merge, in voxel order and in the type of x.

    Raises:
        InputError: a shape does not fit, or merge or backend is unknown.
    """
    if merge not in ("sum", None):
        raise InputError(f"merge is {merge!r}, expected 'sum' or None.")
    batch, directions, length, channels = delta.shape
    states = A.shape[-1]
    shared = x.ndim == 3
    u = x.unsqueeze(1) if shared else x
    _expect(
        {
            "x": (u, (batch, 1 if shared else directions, length, channels)),
            "A": (A, (directions, channels, states)),
            "B": (B, (batch, directions, length, states)),
            "C": (C, (batch, directions, length, states)),
            "D": (D, (directions, channels)),
            "order": (order, (directions, length)),
            "delta_bias": (delta_bias, (directions, channels)),
        }
    )
    y, _ = _run(u, delta, A, B, C, delta_bias, order, delta_softplus, merge == "sum", False, backend)
    if D is not None:
        D = D.to(y.dtype)
        if merge is None:
            y = y + u * D[:, None]
        elif shared:
            y = y + x * D.sum(0)  # the skips of all directions meet in the same voxel
        else:
            y = y + (u * D[:, None]).sum(1)
    return y.to(x.dtype)
