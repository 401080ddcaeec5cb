"""Scans for the Triton kernels, and what the reference makes of them in float64.

Tests that import this are skipped without a GPU, but for Triton's interpreter: `test_probe` runs them in a process that
chooses it, which has to be done before PyTorch is imported.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass

import pytest
import torch
from scan_problems import Size, cross_problem, scan_inputs
from torch import Tensor

from monai_mamba.ops import triton_scan
from monai_mamba.ops.problem import ScanInputs
from monai_mamba.ops.reference import reference_scan
from monai_mamba.ops.triton_scan import launch, plan

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed", allow_module_level=True)
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no GPU; test_probe.py runs these tests under Triton's interpreter", allow_module_level=True)

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# of values and gradients, relative to the largest; a GPU's exp2 is good to about 2e-7, and a state multiplies many
TOLERANCES = (1e-5, 5e-5) if DEVICE.type == "cuda" else (1e-6, 5e-6)


@dataclass(frozen=True)
class Case:
    """Sizes and options of a scan."""

    size: Size
    ordered: bool = True
    shared: bool = True
    merge: bool = True
    bias: bool = True
    softplus: bool = True
    state_gradient: bool = True
    chunked: bool = False
    dtype: torch.dtype = torch.float32


@dataclass
class Problem:
    """Inputs and gradients of the results; all in float64."""

    inputs: ScanInputs
    grad_y: Tensor
    grad_state: Tensor | None


def build(case: Case) -> Problem:
    size = case.size
    problem = cross_problem(size, case.shared, skip=case.bias)
    if not case.softplus:
        problem["delta"] = problem["delta"].exp()
    problem["order"] = problem["order"].int() if case.ordered else None
    inputs = shorten(scan_inputs(problem, case.softplus, case.merge), case.dtype).to(torch.float64)
    generator = torch.Generator().manual_seed(1)
    grad_y = torch.randn(inputs.y_shape, generator=generator, dtype=torch.float64)
    grad_state = torch.randn(inputs.state_shape, generator=generator, dtype=torch.float64)
    return Problem(inputs, grad_y, grad_state if case.state_gradient else None)


def shorten(inputs: ScanInputs, dtype: torch.dtype) -> ScanInputs:
    """The same with u, delta, B and C in a type."""
    return inputs._replace(**{name: getattr(inputs, name).to(dtype) for name in ("u", "delta", "B", "C")})


def on_device(inputs: ScanInputs) -> ScanInputs:
    """The same in float32 where the kernels run."""
    *tensors, order = (None if tensor is None else tensor.to(DEVICE) for tensor in (*inputs.tensors, inputs.order))
    return ScanInputs(*tensors, order, inputs.delta_softplus, inputs.merge).to(torch.float32)


def expect(problem: Problem) -> list[Tensor]:
    """y, last state and all gradients by autograd through the reference."""
    leaves = [tensor if tensor is None else tensor.clone().requires_grad_() for tensor in problem.inputs.tensors]
    y, last_state = reference_scan(ScanInputs(*leaves, *problem.inputs[6:]))
    loss = (y * problem.grad_y).sum()
    if problem.grad_state is not None:
        loss = loss + (last_state * problem.grad_state).sum()
    grads = torch.autograd.grad(loss, [leaf for leaf in leaves if leaf is not None])
    return [y.detach(), last_state.detach(), *grads]


def compute(problem: Problem, dtype: torch.dtype) -> list[Tensor]:
    """The same by the kernels, with u, delta, B and C in a type."""
    inputs = shorten(on_device(problem.inputs), dtype)
    y, last_state, saved = triton_scan.forward(inputs, True)
    assert saved.shape == triton_scan.saved_shape(inputs.delta, inputs.states)
    grad_state = None if problem.grad_state is None else problem.grad_state.to(DEVICE, torch.float32)
    grads = triton_scan.backward((problem.grad_y.to(DEVICE, torch.float32), grad_state), saved, inputs)
    if inputs.delta_bias is None:
        grads = grads[:5]
    assert [grad.dtype for grad in grads] == [tensor.dtype for tensor in inputs.tensors if tensor is not None]
    return [y, last_state, *grads]


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let problems of more than one interval be cut into chunks, as on a device with many multiprocessors."""
    monkeypatch.setattr(plan, "MIN_CHUNK", plan.INTERVAL // 2 + 1)
    monkeypatch.setattr(launch, "multiprocessors", lambda device: 1000)
