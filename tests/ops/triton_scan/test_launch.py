"""How the Triton kernels are launched: which tensors they read and write, and what comes before and after them."""

from __future__ import annotations

import pytest
import torch
from scan_cases import DEVICE, Case, build, chunks, compute, on_device
from scan_problems import Size

from monai_mamba.ops import triton_scan
from monai_mamba.ops.problem import ScanInputs
from monai_mamba.ops.triton_scan import launch

__all__ = ["chunks"]  # a fixture


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
