"""The scan as two custom operators, so that torch.compile, torch.export and autocast treat it as one node.

``monai_mamba::scan_forward`` and ``monai_mamba::scan_backward``; shapes as in `reference`. Each takes the name of the
implementation that runs it. There is no second derivative.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import mamba_ssm, native, torch_scan, triton_scan
from .reference import compute_dtype

# A further implementation is a module with the functions forward, backward and saved_shape of `torch_scan`; with
# DEVICE_TYPE, MAX_STATES and a function obstacle, if it does not run everywhere; an entry here and its place in
# `choice`.
IMPLEMENTATIONS = {"torch": torch_scan, "native": native, "triton": triton_scan, "mamba_ssm": mamba_ssm}


@torch.library.custom_op("monai_mamba::scan_forward", mutates_args=())
def scan_forward(
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
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, the last state and what the backward needs (empty unless ``save``)."""
    with torch.autocast(u.device.type, enabled=False):
        return IMPLEMENTATIONS[backend].forward(u, delta, A, B, C, delta_bias, order, delta_softplus, merge, save)


@scan_forward.register_fake
def _scan_forward_fake(
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
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, directions, length, channels = delta.shape
    states = A.shape[-1]
    dtype = compute_dtype(u)
    shape = (batch, length, channels) if merge else (batch, directions, length, channels)
    saved = IMPLEMENTATIONS[backend].saved_shape(delta, states) if save else (0,)
    return (
        u.new_empty(shape, dtype=dtype),
        u.new_empty((batch, directions, channels, states), dtype=dtype),
        u.new_empty(saved, dtype=dtype),
    )


@torch.library.custom_op("monai_mamba::scan_backward", mutates_args=())
def scan_backward(
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
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of u, delta, A, B, C and delta_bias."""
    inputs = (u, delta, A, B, C, delta_bias, order, delta_softplus, merge)
    with torch.autocast(u.device.type, enabled=False):
        if saved.numel() == 0:  # the forward ran where no gradient was expected
            saved = IMPLEMENTATIONS[backend].forward(*inputs, True)[2]
        return IMPLEMENTATIONS[backend].backward(grad_y, grad_last_state, saved, *inputs)


@scan_backward.register_fake
def _scan_backward_fake(
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
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    bias_dtype = compute_dtype(u) if delta_bias is None else delta_bias.dtype
    bias = A.new_empty(A.shape[:2], dtype=bias_dtype)
    return (*(tensor.new_empty(tensor.shape) for tensor in (u, delta, A, B, C)), bias)  # type: ignore[return-value]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, delta_softplus, merge, _, backend = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[2], *tensors)
    ctx.options = delta_softplus, merge, backend


def _backward(ctx: Any, grad_y: Tensor | None, grad_last_state: Tensor | None, _: Tensor | None) -> tuple[Any, ...]:
    saved, *tensors = ctx.saved_tensors
    u, delta, delta_bias = tensors[0], tensors[1], tensors[5]
    delta_softplus, merge, backend = ctx.options
    if grad_y is None:
        batch, _, length, channels = delta.shape
        grad_y = u.new_zeros((batch, length, channels) if merge else delta.shape, dtype=compute_dtype(u))
    *grads, grad_bias = scan_backward(grad_y, grad_last_state, saved, *tensors, delta_softplus, merge, backend)
    return (*grads, None if delta_bias is None else grad_bias, None, None, None, None, None)


scan_forward.register_autograd(_backward, setup_context=_setup_context)
