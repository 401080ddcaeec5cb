"""The Triton kernels against the reference in float64: on a GPU, or under Triton's interpreter.

The interpreter has to be chosen before PyTorch is imported; `test_probe` runs this file in a process that does so.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass

import pytest
import torch
from scan_problems import Size, cross_problem, deviation, scan_inputs
from torch import Tensor

from monai_mamba.ops import torch_scan
from monai_mamba.ops.problem import ScanInputs
from monai_mamba.ops.reference import reference_scan
from monai_mamba.ops.self_check import TOLERANCE

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed", allow_module_level=True)
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no GPU; test_probe.py runs this file under Triton's interpreter", allow_module_level=True)

from monai_mamba.ops import triton_scan
from monai_mamba.ops.triton_scan import launch, plan, probe

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# of values and gradients, relative to the largest; a GPU's exp2 is good to about 2e-7, and a state multiplies many
TOLERANCES = (1e-5, 5e-5) if DEVICE.type == "cuda" else (1e-6, 5e-6)
NAMES = ("u", "delta", "A", "B", "C", "delta_bias")


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


CASES = [
    Case(Size(1, 1, 1, 1, 1)),
    Case(Size(2, 3, 2, 16, 4), merge=False),
    Case(Size(2, 2, 17, 15, 16), shared=False, state_gradient=False),
    Case(Size(1, 1, 65, 33, 20), bias=False),
    Case(Size(1, 2, 34, 5, 3), ordered=False, bias=False, softplus=False),
    Case(Size(1, 2, 17, 15, 4), dtype=torch.bfloat16),
    Case(Size(1, 1, 9, 5, 2), dtype=torch.float16, ordered=False),
    Case(Size(1, 1, 65, 15, 4), chunked=True),
    Case(
        Size(2, 2, 34, 1, 1), chunked=True, merge=False, ordered=False, softplus=False, bias=False, state_gradient=False
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_the_reference(case: Case, request: pytest.FixtureRequest) -> None:
    if case.chunked:
        request.getfixturevalue("chunks")
    problem = build(case)
    inputs = problem.inputs
    parts = plan.plan_scan(inputs.delta, case.size.states, launch.multiprocessors(DEVICE)).chunks
    assert (parts > 1) == case.chunked
    short = (
        2 * torch.finfo(case.dtype).eps if case.dtype != torch.float32 else 0.0
    )  # gradients come in the input's type
    names = ("y", "last state", *(name for name, t in zip(NAMES, inputs.tensors, strict=True) if t is not None))
    for name, found, right in zip(names, compute(problem, case.dtype), expect(problem), strict=True):
        tolerance = TOLERANCES[name not in ("y", "last state")] + (short if found.dtype == case.dtype else 0.0)
        assert found.shape == right.shape, name
        assert deviation(found.cpu(), right) <= tolerance, name


def test_reads_strided_tensors() -> None:
    case = Case(Size(1, 2, 6, 5, 4))
    problem = build(case)
    expected = compute(problem, torch.float32)
    u, delta, A, B, C, _ = problem.inputs.tensors
    packed = torch.cat([delta, B, C], dim=-1)  # as one projection gives them
    delta, B, C = packed.split([5, 4, 4], dim=-1)
    u = u.transpose(2, 3).contiguous().transpose(2, 3)  # channels first, as mamba-ssm has them
    A = A.transpose(0, 1).contiguous().transpose(0, 1)
    problem.inputs = problem.inputs._replace(u=u, delta=delta, A=A, B=B, C=C)
    problem.grad_y = problem.grad_y.transpose(1, 2).contiguous().transpose(1, 2)
    assert not any(tensor.is_contiguous() for tensor in problem.inputs[:5])
    for found, right in zip(compute(problem, torch.float32), expected, strict=True):
        assert torch.equal(found, right)


@pytest.mark.parametrize("chunked", [False, True])
def test_equal_inputs_give_equal_bits(
    chunked: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the memory holds that the kernels write to, and on a GPU in whatever order programs run."""
    if chunked:
        request.getfixturevalue("chunks")
    small = Size(1, 1, 34 if chunked else 9, 3, 3)
    case = Case(Size(2, 4, 2000, 96, 16) if DEVICE.type == "cuda" else small, chunked=chunked)
    problem = build(case)
    results = []
    for garbage in (float("nan"), 1e30):
        monkeypatch.setattr(
            launch._Problem,
            "new",
            lambda self, *shape, garbage=garbage: torch.full(shape, garbage, device=self.device),
        )
        results.append(compute(problem, torch.float32))
    for first, second in zip(*results, strict=True):
        assert torch.isfinite(first).all()
        assert torch.equal(first, second)


def test_forward_without_a_backward_keeps_no_states() -> None:
    inputs = on_device(build(Case(Size(1, 1, 5, 3, 2))).inputs)
    y, last_state, saved = triton_scan.forward(inputs, False)
    assert saved.numel() == 0
    kept = triton_scan.forward(inputs, True)
    assert torch.equal(y, kept[0])
    assert torch.equal(last_state, kept[1])


def test_large_steps_forget_and_zero_steps_keep() -> None:
    """Step sizes of 10 and more make decays that underflow; those of 0 leave the state alone."""
    problem = build(Case(Size(1, 1, 12, 4, 3), ordered=False, softplus=False, bias=False))
    problem.inputs.delta[:, :, :4] = 10.0
    problem.inputs.delta[:, :, 4:6] = 1000.0
    problem.inputs.delta[:, :, 6:] = 0.0
    found, right = compute(problem, torch.float32), expect(problem)
    for index, (mine, theirs) in enumerate(zip(found, right, strict=True)):
        assert deviation(mine.cpu(), theirs) <= TOLERANCES[index > 1]
    straight = torch_scan.forward(problem.inputs, False)
    assert deviation(found[1].cpu(), straight[1]) <= TOLERANCES[0]


def test_softplus_is_accurate_for_every_size() -> None:
    x = torch.linspace(-60, 60, 481, dtype=torch.float64)
    tensors = (torch.ones_like(x), x, torch.zeros(1), torch.ones_like(x), torch.ones_like(x))
    u, delta, A, B, C = (tensor.view(1, 1, -1, 1).float().to(DEVICE) for tensor in tensors)
    problem = launch._Problem(ScanInputs(u, delta, A.view(1, 1, 1), B, C, None, None, True, True))
    found = problem.step_sizes()[0].flatten().double().cpu()
    right = torch.nn.functional.softplus(x.float().double(), threshold=100)
    assert ((found - right).abs() / right).max() <= 5e-6  # exp of -60 in float32
    assert ((found - right).abs() / right)[x > -5].max() <= 1e-6
    grad = torch.ones(1, 1, len(x), 1, device=DEVICE)
    problem.finish_grad_delta(grad)
    slope = torch.sigmoid(x)
    assert ((grad.flatten().double().cpu() - slope).abs() / slope).max() <= 5e-6


def test_the_self_check_passes(chunks: None) -> None:
    assert probe.self_check(DEVICE, torch.float32, 4) <= TOLERANCE
