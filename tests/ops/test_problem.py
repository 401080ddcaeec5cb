"""The value that a scan is: its shapes and types, and gradients as its inputs want them."""

from __future__ import annotations

import torch
from scan_problems import Size, cross_problem, scan_inputs

SIZE = Size(2, 3, 7, 5, 4)


def test_shapes_and_types() -> None:
    inputs = scan_inputs(cross_problem(SIZE))
    assert inputs.states == 4
    assert inputs.state_shape == (2, 3, 5, 4)
    assert inputs.y_shape == (2, 7, 5)
    assert inputs._replace(merge=False).y_shape == (2, 3, 7, 5)
    assert inputs.dtype == torch.float64
    half = inputs.to(torch.bfloat16)
    assert half.dtype == torch.float32
    assert {tensor.dtype for tensor in half.tensors} == {torch.bfloat16}
    assert half.order is inputs.order


def test_gradients_have_the_types_and_shapes_of_the_inputs() -> None:
    inputs = scan_inputs(cross_problem(SIZE)).to(torch.bfloat16)
    delta, A, B, C, bias = (torch.ones(tensor.shape) for tensor in inputs.tensors[1:])
    grads = inputs.gradients(delta, delta, A, B, C, bias)
    for grad, tensor in zip(grads, inputs.tensors, strict=True):
        assert (grad.shape, grad.dtype) == (tensor.shape, tensor.dtype)
    assert (grads[0] == SIZE.directions).all()  # all directions share u
    without = inputs._replace(delta_bias=None).gradients(delta, delta, A, B, C, None)[5]
    assert without.shape == A.shape[:2]
    assert not without.any()
