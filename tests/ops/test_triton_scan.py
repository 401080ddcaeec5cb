"""The Triton kernels against the reference in float64: on a GPU, or under Triton's interpreter.

The interpreter has to be chosen before PyTorch is imported; `test_triton` runs this file in a process that does so.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass

import pytest
import torch
from scan_problems import Size, cross_problem, deviation
from torch import Tensor

from monai_mamba.ops import torch_scan
from monai_mamba.ops.reference import reference_scan

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed", allow_module_level=True)
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no GPU; test_triton.py runs this file under Triton's interpreter", allow_module_level=True)

from monai_mamba.ops import triton_scan
from monai_mamba.ops.triton_scan import launch, plan

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
    """Inputs in the order of the operators, and gradients of the results; all in float64."""

    tensors: list[Tensor | None]
    options: tuple[Tensor | None, bool, bool]
    grad_y: Tensor
    grad_state: Tensor | None


def build(case: Case) -> Problem:
    size = case.size
    problem = cross_problem(size, case.shared, skip=case.bias)
    u = problem["x"].unsqueeze(1) if case.shared else problem["x"]
    delta = problem["delta"] if case.softplus else problem["delta"].exp()
    tensors = [u, delta, problem["A"], problem["B"], problem["C"], problem["delta_bias"]]
    for i in (0, 1, 3, 4):  # values that the short type can hold
        tensors[i] = tensors[i].to(case.dtype).double()
    generator = torch.Generator().manual_seed(1)
    shape = (size.batch, size.length, size.channels) if case.merge else delta.shape
    grad_y = torch.randn(shape, generator=generator, dtype=torch.float64)
    grad_state = torch.randn(
        (size.batch, size.directions, size.channels, size.states), generator=generator, dtype=torch.float64
    )
    order = problem["order"].int() if case.ordered else None
    return Problem(tensors, (order, case.softplus, case.merge), grad_y, grad_state if case.state_gradient else None)


def expect(problem: Problem) -> list[Tensor]:
    """y, last state and all gradients by autograd through the reference."""
    leaves = [tensor if tensor is None else tensor.clone().requires_grad_() for tensor in problem.tensors]
    y, last_state = reference_scan(*leaves, *problem.options)
    loss = (y * problem.grad_y).sum()
    if problem.grad_state is not None:
        loss = loss + (last_state * problem.grad_state).sum()
    grads = torch.autograd.grad(loss, [leaf for leaf in leaves if leaf is not None])
    return [y.detach(), last_state.detach(), *grads]


def compute(problem: Problem, dtype: torch.dtype) -> list[Tensor]:
    """The same by the kernels, with u, delta, B and C in a type."""
    inputs = [tensor if tensor is None else tensor.to(DEVICE, torch.float32) for tensor in problem.tensors]
    for i in (0, 1, 3, 4):
        inputs[i] = inputs[i].to(dtype)
    order, *flags = problem.options
    options = (None if order is None else order.to(DEVICE), *flags)
    y, last_state, saved = triton_scan.forward(*inputs, *options, True)
    assert saved.shape == triton_scan.saved_shape(inputs[1], inputs[2].shape[-1])
    grad_state = None if problem.grad_state is None else problem.grad_state.to(DEVICE, torch.float32)
    grads = triton_scan.backward(problem.grad_y.to(DEVICE, torch.float32), grad_state, saved, *inputs, *options)
    if inputs[5] is None:
        grads = grads[:5]
    assert [grad.dtype for grad in grads] == [tensor.dtype for tensor in inputs if tensor is not None]
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
    delta = problem.tensors[1]
    parts = plan.plan_scan(delta, case.size.states, launch.multiprocessors(DEVICE)).chunks
    assert (parts > 1) == case.chunked
    short = (
        2 * torch.finfo(case.dtype).eps if case.dtype != torch.float32 else 0.0
    )  # gradients come in the input's type
    names = ("y", "last state", *(name for name, t in zip(NAMES, problem.tensors, strict=True) if t is not None))
    for name, found, right in zip(names, compute(problem, case.dtype), expect(problem), strict=True):
        tolerance = TOLERANCES[name not in ("y", "last state")] + (short if found.dtype == case.dtype else 0.0)
        assert found.shape == right.shape, name
        assert deviation(found.cpu(), right) <= tolerance, name


def test_reads_strided_tensors() -> None:
    case = Case(Size(1, 2, 6, 5, 4))
    problem = build(case)
    expected = compute(problem, torch.float32)
    u, delta, A, B, C, bias = problem.tensors
    packed = torch.cat([delta, B, C], dim=-1)  # as one projection gives them
    delta, B, C = packed.split([5, 4, 4], dim=-1)
    u = u.transpose(2, 3).contiguous().transpose(2, 3)  # channels first, as mamba-ssm has them
    problem.tensors = [u, delta, A.transpose(0, 1).contiguous().transpose(0, 1), B, C, bias]
    problem.grad_y = problem.grad_y.transpose(1, 2).contiguous().transpose(1, 2)
    assert not any(problem.tensors[i].is_contiguous() for i in range(5))
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
    problem = build(Case(Size(1, 1, 5, 3, 2)))
    inputs = [tensor.to(DEVICE, torch.float32) for tensor in problem.tensors]
    order, *flags = problem.options
    y, last_state, saved = triton_scan.forward(*inputs, order.to(DEVICE), *flags, False)
    assert saved.numel() == 0
    kept = triton_scan.forward(*inputs, order.to(DEVICE), *flags, True)
    assert torch.equal(y, kept[0])
    assert torch.equal(last_state, kept[1])


def test_large_steps_forget_and_zero_steps_keep() -> None:
    """Step sizes of 10 and more make decays that underflow; those of 0 leave the state alone."""
    problem = build(Case(Size(1, 1, 12, 4, 3), ordered=False, softplus=False, bias=False))
    problem.tensors[1][:, :, :4] = 10.0
    problem.tensors[1][:, :, 4:6] = 1000.0
    problem.tensors[1][:, :, 6:] = 0.0
    found, right = compute(problem, torch.float32), expect(problem)
    for index, (mine, theirs) in enumerate(zip(found, right, strict=True)):
        assert deviation(mine.cpu(), theirs) <= TOLERANCES[index > 1]
    straight = torch_scan.forward(*problem.tensors, *problem.options, False)
    assert deviation(found[1].cpu(), straight[1]) <= TOLERANCES[0]


def test_softplus_is_accurate_for_every_size() -> None:
    x = torch.linspace(-60, 60, 481, dtype=torch.float64)
    tensors = (torch.ones_like(x), x, torch.zeros(1), torch.ones_like(x), torch.ones_like(x))
    u, delta, A, B, C = (tensor.view(1, 1, -1, 1).float().to(DEVICE) for tensor in tensors)
    problem = launch._Problem(u, delta, A.view(1, 1, 1), B, C, None, None, True)
    found = problem.step_sizes()[0].flatten().double().cpu()
    right = torch.nn.functional.softplus(x.float().double(), threshold=100)
    assert ((found - right).abs() / right).max() <= 5e-6  # exp of -60 in float32
    assert ((found - right).abs() / right)[x > -5].max() <= 1e-6
    grad = torch.ones(1, 1, len(x), 1, device=DEVICE)
    problem.finish_grad_delta(grad)
    slope = torch.sigmoid(x)
    assert ((grad.flatten().double().cpu() - slope).abs() / slope).max() <= 5e-6


def test_the_self_check_passes(chunks: None) -> None:
    assert triton_scan.self_check(DEVICE, torch.float32, 4) <= triton_scan.SELF_CHECK_TOLERANCE


def test_nothing_stands_in_the_way_here() -> None:
    triton_scan._probe.cache_clear()
    assert triton_scan.obstacle(DEVICE, torch.bfloat16, 5) == ""
