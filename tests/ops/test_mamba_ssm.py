"""The kernel of mamba-ssm behind the interface of the scan: what it gets, and what is said where it does not work."""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from fake_kernel import FakeKernel, raising
from scan_problems import Size, cross_problem, deviation, single_problem, solve
from torch._subclasses.fake_tensor import FakeTensorMode

from monai_mamba.ops import choice, cross_selective_scan, dispatch, explain, mamba_ssm

CPU = torch.device("cpu")
SIZE = Size(2, 3, 21, 4, 3)
pytestmark = pytest.mark.usefixtures("fresh")


class Wrong(FakeKernel):
    def fwd(self, *arguments):
        y, kept = super().fwd(*arguments)
        return [y + 1, kept]


class WrongGradient(FakeKernel):
    def bwd(self, *arguments):
        grad_u, *others = super().bwd(*arguments)
        return [1.001 * grad_u, *others]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("merge", ["sum", None])
@pytest.mark.parametrize("ordered", [True, False])
def test_kernel_gets_the_right_sequences(
    install: Callable[[ModuleType], None], ordered: bool, merge: str | None, shared: bool
) -> None:
    kernel = FakeKernel()
    install(kernel)
    problem = cross_problem(SIZE, shared)
    if not ordered:
        problem["order"] = None
    expected, expected_grads = solve(problem, merge=merge, backend="reference")
    found, grads = solve(problem, torch.float32, merge=merge)
    assert (kernel.forwards, kernel.backwards) == (2 + 1, 1 + 1)  # the self-check, then the scan
    assert deviation(found, expected) <= 1e-6
    for name, grad in expected_grads.items():
        assert deviation(grads[name], grad) <= 5e-6, name


def test_kernel_runs_the_interface_of_mamba_ssm(install: Callable[[ModuleType], None]) -> None:
    kernel = FakeKernel()
    install(kernel)
    problem = single_problem(2, 2, 3, 11, 4)
    expected, expected_grads = solve(problem, delta_softplus=True, backend="reference")
    found, grads = solve(problem, torch.float32, delta_softplus=True)
    assert kernel.backwards == 2
    assert deviation(found, expected) <= 1e-6
    for name, grad in expected_grads.items():
        assert deviation(grads[name], grad) <= 5e-6, name
    assert explain().startswith("mamba_ssm: ")


def test_kernel_gives_the_last_state_but_not_its_gradient(install: Callable[[ModuleType], None]) -> None:
    kernel = FakeKernel()
    install(kernel)
    problem = {name: tensor.float() for name, tensor in single_problem(1, 1, 4, 9, 3).items()}
    options = {"delta_softplus": True, "return_last_state": True}
    with torch.no_grad():
        _, state = dispatch.selective_scan(**problem, **options)
    _, expected = dispatch.selective_scan(**problem, **options, backend="reference")
    assert (kernel.forwards, kernel.backwards) == (3, 1)
    assert deviation(state, expected) <= 1e-6
    problem["u"].requires_grad_()
    dispatch.selective_scan(**problem, **options)[1].sum().backward()
    assert (kernel.forwards, kernel.backwards) == (3, 1)


@pytest.mark.parametrize(
    ("module", "found"),
    [
        (None, "selective_scan_cuda|mamba-ssm is not installed"),
        (raising(ImportError("undefined symbol: _ZN3c10")), "undefined symbol"),
        (raising(OSError("libcudart.so.12: cannot open")), "libcudart"),
        (raising(RuntimeError("no kernel image is available")), "no kernel image"),
        (ModuleType("selective_scan_cuda"), "no attribute 'fwd'"),
        (Wrong(), "wrong values"),
        (WrongGradient(), "wrong values"),
    ],
    ids=["missing", "ImportError", "OSError", "RuntimeError", "empty", "wrong values", "wrong gradient"],
)
def test_broken_kernel_costs_one_warning(
    install: Callable[[ModuleType | None], None], module: ModuleType | None, found: str
) -> None:
    problem = cross_problem(SIZE)
    expected, expected_grads = solve(problem, backend="reference")
    install(module)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        result, grads = solve(problem, torch.float32)
        solve(problem, torch.float32)
    assert len(record) == 1
    assert re.search(found, str(record[0].message))
    assert "pip install" in str(record[0].message)
    assert deviation(result, expected) <= 1e-6
    for name, grad in expected_grads.items():
        assert deviation(grads[name], grad) <= 5e-6, name


def test_package_without_its_kernel_costs_one_warning_with_the_remedy(
    install: Callable[[ModuleType | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(None)
    monkeypatch.setattr(mamba_ssm, "kernel", lambda: (_ for _ in ()).throw(ModuleNotFoundError(name=mamba_ssm.MODULE)))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "mamba_ssm" else None)
    problem = {name: tensor.float() if name != "order" else tensor for name, tensor in cross_problem(SIZE).items()}
    with pytest.warns(UserWarning, match=r"without its CUDA kernel.*MAMBA_KEEP_CUDA_BUILD=TRUE") as record:
        found = cross_selective_scan(**problem)
    assert len(record) == 1
    assert torch.equal(found, cross_selective_scan(**problem, backend="torch"))


def test_kernel_is_found_out_about_within_compilation(install: Callable[[ModuleType], None]) -> None:
    kernel = FakeKernel()
    install(kernel)
    problem = {name: tensor.float() for name, tensor in single_problem(1, 1, 4, 10, 2).items()}
    scan = torch.compile(dispatch.selective_scan, fullgraph=True, backend="aot_eager")
    found = scan(**problem, delta_softplus=True)
    assert kernel.forwards == 3
    assert deviation(found, dispatch.selective_scan(**problem, delta_softplus=True, backend="reference")) <= 1e-6


@pytest.mark.parametrize(
    ("dtype", "states", "state_gradient", "obstacle"),
    [(torch.float64, 4, False, "float64"), (torch.float32, 257, False, "256"), (torch.float32, 4, True, "last state")],
)
def test_limits_of_the_kernel_are_respected_in_silence(
    install: Callable[[ModuleType], None], dtype: torch.dtype, states: int, state_gradient: bool, obstacle: str
) -> None:
    install(FakeKernel())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = choice.choose(choice.Scan(CPU, dtype, states, 100, True, state_gradient))
    assert found.name == "torch"
    assert not found.warn
    assert obstacle in found.reason


def test_a_pass_without_numbers_says_nothing_about_the_kernel(install: Callable[[ModuleType], None]) -> None:
    install(FakeKernel())
    with FakeTensorMode():
        assert "have no data" in mamba_ssm.obstacle(torch.device("cpu"), torch.float32, 16)
    assert mamba_ssm.obstacle(torch.device("cpu"), torch.float32, 16) == ""
