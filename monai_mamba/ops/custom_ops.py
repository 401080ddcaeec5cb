"""The scan as two custom operators, so that torch.compile, torch.export and autocast treat it as one node.

``monai_mamba::scan_forward`` and ``monai_mamba::scan_backward``. Each takes the fields of `ScanInputs` one by one, as
operators have to, and the name of the implementation that runs it. There is no second derivative.

They are made with `torch.library.define`, not `custom_op`, whose operators import torch.compile, a second, when called.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import mamba_ssm, native, torch_scan, triton_scan
from .problem import Gradients, Results, ScanInputs

# A further implementation is a module with the functions that `problem` names; with DEVICE_TYPE, MAX_STATES and a
# function obstacle, if it does not run everywhere; an entry here and its place in `choice`.
IMPLEMENTATIONS = {"torch": torch_scan, "native": native, "triton": triton_scan, "mamba_ssm": mamba_ssm}
_INPUTS = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? delta_bias, Tensor? order, "
    "bool delta_softplus, bool merge"
)
_FORWARD, _BACKWARD = "monai_mamba::scan_forward", "monai_mamba::scan_backward"

torch.library.define(
    _FORWARD, f"({_INPUTS}, bool save, str backend) -> (Tensor, Tensor, Tensor)", tags=torch.Tag.pt2_compliant_tag
)
torch.library.define(
    _BACKWARD,
    f"(Tensor grad_y, Tensor? grad_last_state, Tensor saved, {_INPUTS}, str backend) -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    tags=torch.Tag.pt2_compliant_tag,
)
scan_forward = torch.ops.monai_mamba.scan_forward.default
scan_backward = torch.ops.monai_mamba.scan_backward.default


@torch.library.impl(_FORWARD, "default")
def _scan_forward(*arguments: Any) -> Results:
    """Return y, the last state and what the backward needs (empty unless ``save``)."""
    *fields, save, backend = arguments
    inputs = ScanInputs(*fields)
    with torch.autocast(inputs.u.device.type, enabled=False):
        return IMPLEMENTATIONS[backend].forward(inputs, save)


@torch.library.register_fake(_FORWARD)
def _scan_forward_fake(*arguments: Any) -> Results:
    *fields, save, backend = arguments
    inputs = ScanInputs(*fields)
    saved_shape = IMPLEMENTATIONS[backend].saved_shape(inputs.delta, inputs.states) if save else (0,)
    shapes = (inputs.y_shape, inputs.state_shape, saved_shape)
    return tuple(inputs.u.new_empty(shape, dtype=inputs.dtype) for shape in shapes)


@torch.library.impl(_BACKWARD, "default")
def _scan_backward(grad_y: Tensor, grad_last_state: Tensor | None, saved: Tensor, *arguments: Any) -> Gradients:
    """Return the gradients of u, delta, A, B, C and delta_bias."""
    *fields, backend = arguments
    inputs = ScanInputs(*fields)
    with torch.autocast(inputs.u.device.type, enabled=False):
        if saved.numel() == 0:  # the forward ran where no gradient was expected
            saved = IMPLEMENTATIONS[backend].forward(inputs, True)[2]
        return IMPLEMENTATIONS[backend].backward((grad_y, grad_last_state), saved, inputs)


@torch.library.register_fake(_BACKWARD)
def _scan_backward_fake(grad_y: Tensor, grad_last_state: Tensor | None, saved: Tensor, *arguments: Any) -> Gradients:
    inputs = ScanInputs(*arguments[:-1])
    bias = inputs.A if inputs.delta_bias is None else inputs.delta_bias
    return (*(tensor.new_empty(tensor.shape) for tensor in inputs.tensors[:5]), bias.new_empty(inputs.A.shape[:2]))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Results) -> None:
    *tensors, delta_softplus, merge, _, backend = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[2], *tensors)
    ctx.options = delta_softplus, merge, backend


@once_differentiable
def _backward(ctx: Any, grad_y: Tensor | None, grad_last_state: Tensor | None, _: Tensor | None) -> tuple[Any, ...]:
    saved, *tensors = ctx.saved_tensors
    *flags, backend = ctx.options
    inputs = ScanInputs(*tensors, *flags)
    if grad_y is None:
        grad_y = inputs.u.new_zeros(inputs.y_shape, dtype=inputs.dtype)
    *grads, grad_bias = scan_backward(grad_y, grad_last_state, saved, *inputs, backend)
    return (*grads, None if inputs.delta_bias is None else grad_bias, None, None, None, None, None)


torch.library.register_autograd(_FORWARD, _backward, setup_context=_setup_context)
