"""The selective scan as networks call it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import silu

from ..errors import InputError
from . import export_scan
from .choice import Scan, choose, warn_while_tracing
from .custom_ops import scan_forward
from .problem import ScanInputs
from .reference import reference_scan


def _run(inputs: ScanInputs, with_state: bool, backend: str) -> tuple[Tensor, Tensor]:
    """Y and the last state of a scan, by the implementation of choice."""
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs.tensors)
    updates = inputs.delta.numel() * inputs.states
    u, ordered = inputs.u, inputs.order is not None
    choice = choose(Scan(u.device, u.dtype, inputs.states, updates, ordered, save and with_state), backend)
    if choice.warn:
        warn_while_tracing(f"The selective scan runs in plain PyTorch, which gives the same results: {choice.reason}")
    if choice.name == "reference":
        return reference_scan(inputs)
    if choice.name == "export":
        return export_scan.scan(inputs)
    y, last_state, _ = scan_forward(*inputs, save, choice.name)
    return y, last_state


def _expect(shapes: dict[str, tuple[Tensor | None, tuple[int, ...]]]) -> None:
    for name, (tensor, shape) in shapes.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise InputError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}.")


def _expect_axes(axes: dict[str, tuple[Tensor, int]]) -> None:
    for name, (tensor, count) in axes.items():
        if tensor.ndim != count:
            raise InputError(f"{name} has shape {tuple(tensor.shape)}, expected {count} axes.")


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

    h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t and y_t = C_t . h_t + D u_t, gated by silu(z_t); see `problem` for
    the source. The state is computed in float32 whatever the types of the inputs and the autocast state (float64 for
    float64 inputs).

    Args:
        u: (B, D, L) input.
        delta: (B, D, L) step size, positive after bias and softplus.
        A: (D, N), negative for a state that decays.
        B: (B, N, L), or (B, G, N, L) for G groups of D / G successive channels; so is C.
        D: (D,) skip connection, or None.
        z: (B, D, L) gate, or None.
        delta_bias: (D,) added to delta, or None.
        delta_softplus: pass delta + delta_bias through softplus.
        return_last_state: return the last state too.
        backend: see `choice.set_scan_backend`.

    Returns:
        y, (B, D, L), in the type of u; with ``return_last_state`` also the state after the last token, (B, D, N).

    Raises:
        InputError: a shape does not fit, or the backend is unknown.
    """
    _expect_axes({"u": (u, 3), "A": (A, 2)})
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
    B, C = B.transpose(2, 3), C.transpose(2, 3)
    inputs = ScanInputs(rows_u, rows_delta, group_a, B, C, group_bias, None, delta_softplus, merge=False)
    y, last_state = _run(inputs, return_last_state, backend)
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
            0 .. L - 1, which only the C++ kernel checks. None where the tensors are in scan order already.
        delta_bias: (K, E) added to delta, or None.
        delta_softplus: pass delta + delta_bias through softplus.
        merge: "sum" adds up the directions, None keeps them apart.
        backend: see `choice.set_scan_backend`.

    Returns:
        (B, L, E), or (B, K, L, E) without merge, in voxel order and in the type of x.

    Raises:
        InputError: a shape does not fit, or merge or backend is unknown.
    """
    if merge not in ("sum", None):
        raise InputError(f"merge is {merge!r}, expected 'sum' or None.")
    _expect_axes({"delta": (delta, 4), "A": (A, 3)})
    batch, directions, length, channels = delta.shape
    states = A.shape[-1]
    shared = x.ndim == 3
    u = x.unsqueeze(1) if shared else x
    _expect(
        {
            "x": (x, (batch, length, channels) if shared else (batch, directions, length, channels)),
            "A": (A, (directions, channels, states)),
            "B": (B, (batch, directions, length, states)),
            "C": (C, (batch, directions, length, states)),
            "D": (D, (directions, channels)),
            "order": (order, (directions, length)),
            "delta_bias": (delta_bias, (directions, channels)),
        }
    )
    inputs = ScanInputs(u, delta, A, B, C, delta_bias, order, delta_softplus, merge == "sum")
    y, _ = _run(inputs, False, backend)
    if D is not None:
        D = D.to(y.dtype)
        if merge is None:
            y = y + u * D[:, None]
        elif shared:
            y = y + x * D.sum(0)  # the skips of all directions meet in the same voxel
        else:
            y = y + (u * D[:, None]).sum(1)
    return y.to(x.dtype)
