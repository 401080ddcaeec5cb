"""The selective scan as networks call it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .custom_ops import scan_forward
from .reference import reference_scan


def run_scan(u, delta, A, B, C, delta_bias, order, delta_softplus, merge, backend):
    if backend == "reference":
        return reference_scan(u, delta, A, B, C, delta_bias, order, delta_softplus, merge)
    tensors = (u, delta, A, B, C, delta_bias)
    save = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
    return scan_forward(u, delta, A, B, C, delta_bias, order, delta_softplus, merge, save)[:2]


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
    batch, channels, length = u.shape
    if B.ndim == 3:
        B, C = B.unsqueeze(1), C.unsqueeze(1)
    groups = B.shape[1]

    def split(tensor: Tensor) -> Tensor:
        return tensor.unflatten(1, (groups, -1)).transpose(2, 3)

    bias = None if delta_bias is None else delta_bias.unflatten(0, (groups, -1))
    A = A.unflatten(0, (groups, -1))
    rows = split(u), split(delta), A, B.transpose(2, 3), C.transpose(2, 3), bias, None
    y, last_state = run_scan(*rows, delta_softplus, False, backend)
    y = y.transpose(2, 3).flatten(1, 2)
    if D is not None:
        y = y + u * D.to(y.dtype)[:, None]
    if z is not None:
        y = y * F.silu(z.to(y.dtype))
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
    shared = x.ndim == 3
    u = x.unsqueeze(1) if shared else x
    y, _ = run_scan(u, delta, A, B, C, delta_bias, order, delta_softplus, merge == "sum", backend)
    if D is not None:
        D = D.to(y.dtype)
        if merge == "sum":
            y = y + (x * D.sum(0) if shared else (x * D[:, None]).sum(1))
        else:
            y = y + u * D[:, None]
    return y.to(x.dtype)
