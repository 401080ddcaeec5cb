"""The Triton kernels against the reference in float64: on a GPU, or under Triton's interpreter."""

from __future__ import annotations

import pytest
import torch
from scan_cases import DEVICE, TOLERANCES, Case, build, chunks, compute, expect
from scan_problems import Size, deviation

from monai_mamba.ops import torch_scan
from monai_mamba.ops.self_check import TOLERANCE
from monai_mamba.ops.triton_scan import launch, plan, probe

__all__ = ["chunks"]  # a fixture
NAMES = ("u", "delta", "A", "B", "C", "delta_bias")

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


def test_the_self_check_passes(chunks: None) -> None:
    assert probe.self_check(DEVICE, torch.float32, 4) <= TOLERANCE
