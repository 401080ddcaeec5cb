"""The scan as two custom operators, so that torch.compile, torch.export and autocast treat it as one node.

``monai_mamba::scan_forward`` and ``monai_mamba::scan_backward``. Each takes the fields of `ScanInputs` one by one, as
operators have to, and the name of the implementation that runs it. There is no second derivative.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import mamba_ssm, native, torch_scan, triton_scan
from .problem import Gradients, Results, ScanInputs

# A further implementation is a module with the functions that `problem` names; with DEVICE_TYPE, MAX_STATES and a
# function obstacle, if it does not run everywhere; an entry here and its place in `choice`.
IMPLEMENTATIONS = {"torch": torch_scan, "native": native, "triton": triton_scan, "mamba_ssm": mamba_ssm}
_INPUTS = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? delta_bias, Tensor? order, "
    "bool delta_softplus, bool merge"
)


@torch.library.custom_op(
    "monai_mamba::scan_forward",
    mutates_args=(),
    schema=f"({_INPUTS}, bool save, str backend) -> (Tensor, Tensor, Tensor)",
)
def scan_forward(*arguments: Any) -> Results:
    """Return y, the last state and what the backward needs (empty unless ``save``)."""
    *fields, save, backend = arguments
    inputs = ScanInputs(*fields)
    with torch.autocast(inputs.u.device.type, enabled=False):
        return IMPLEMENTATIONS[backend].forward(inputs, save)


@scan_forward.register_fake
def _scan_forward_fake(*arguments: Any) -> Results:
    *fields, save, backend = arguments
    inputs = ScanInputs(*fields)
    saved_shape = IMPLEMENTATIONS[backend].saved_shape(inputs.delta, inputs.states) if save else (0,)
    shapes = (inputs.y_shape, inputs.state_shape, saved_shape)
    return tuple(inputs.u.new_empty(shape, dtype=inputs.dtype) for shape in shapes)


@torch.library.custom_op(
    "monai_mamba::scan_backward",
    mutates_args=(),
    schema=f"(Tensor grad_y, Tensor? grad_last_state, Tensor saved, {_INPUTS}, str backend) -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def scan_backward(grad_y: Tensor, grad_last_state: Tensor | None, saved: Tensor, *arguments: Any) -> Gradients:
    """Return the gradients of u, delta, A, B, C and delta_bias."""
    *fields, backend = arguments
    inputs = ScanInputs(*fields)
    with torch.autocast(inputs.u.device.type, enabled=False):
        if saved.numel() == 0:  # the forward ran where no gradient was expected
            saved = IMPLEMENTATIONS[backend].forward(inputs, True)[2]
        return IMPLEMENTATIONS[backend].backward((grad_y, grad_last_state), saved, inputs)


@scan_backward.register_fake
def _scan_backward_fake(grad_y: Tensor, grad_last_state: Tensor | None, saved: Tensor, *arguments: Any) -> Gradients:
    inputs = ScanInputs(*arguments[:-1])
    bias = inputs.A if inputs.delta_bias is None else inputs.delta_bias
    return (*(tensor.new_empty(tensor.shape) for tensor in inputs.tensors[:5]), bias.new_empty(inputs.A.shape[:2]))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Results) -> None:
    *tensors, delta_softplus, merge, _, backend = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[2], *tensors)
    ctx.options = delta_softplus, merge, backend


def _backward(ctx: Any, grad_y: Tensor | None, grad_last_state: Tensor | None, _: Tensor | None) -> tuple[Any, ...]:
    saved, *tensors = ctx.saved_tensors
    *flags, backend = ctx.options
    inputs = ScanInputs(*tensors, *flags)
    if grad_y is None:
        grad_y = inputs.u.new_zeros(inputs.y_shape, dtype=inputs.dtype)
    *grads, grad_bias = scan_backward(grad_y, grad_last_state, saved, *inputs, backend)
    return (*grads, None if inputs.delta_bias is None else grad_bias, None, None, None, None, None)


scan_forward.register_autograd(_backward, setup_context=_setup_context)
