"""When the native kernel is taken: on request, by the size of the scan, and within compiled graphs."""

from __future__ import annotations

import warnings

import pytest
import torch
from scan_problems import Size, cross_problem, leaves, solve

from monai_mamba.info import print_info
from monai_mamba.ops import choice, cross_selective_scan, explain, native, scan_backend
from monai_mamba.ops.native.kernel import Kernel

pytestmark = pytest.mark.usefixtures("kernel")


def test_who_asks_for_the_kernel_gets_it_except_for_float64() -> None:
    small = {"shape": (1, 2, 10, 3), "states": 2, "backend": "native"}
    assert explain(**small).startswith("native: it was asked for, and works here\n- triton: ")
    assert explain(dtype=torch.bfloat16, **small).startswith("native: ")
    obstacle = "native does not compute in float64"
    assert explain(dtype=torch.float64, **small).startswith(f"torch: {obstacle}\n")
    assert explain("meta", backend="native").startswith("torch: the tensors are on meta, native needs cpu\n")
    choice.warn_once.cache_clear()
    problem = cross_problem(Size(1, 2, 10, 3, 2))
    with pytest.warns(UserWarning, match=obstacle):
        found = cross_selective_scan(**problem, backend="native")
    assert torch.equal(found, cross_selective_scan(**problem, backend="torch"))


@pytest.fixture
def calls(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the kernel is asked to do."""
    calls: list[str] = []
    for name in ("forward", "backward"):
        step = getattr(kernel, name)
        monkeypatch.setattr(kernel, name, lambda *args, name=name, step=step: calls.append(name) or step(*args))
    return calls


UPDATES = 2 * 2 * 40 * 17 * 3  # of the size below


@pytest.mark.parametrize(("threshold", "expected"), [(UPDATES, ["forward", "backward"]), (UPDATES + 1, [])])
def test_automatic_choice_goes_by_the_size(
    threshold: int, expected: list[str], calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "WORTHWHILE", threshold)
    problem = cross_problem(Size(2, 2, 40, 17, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = solve(problem, torch.float32)
        assert calls == expected
        solve(problem, torch.float64)
        assert calls == expected  # not in float64
    name = "native" if expected else "torch"
    y, grads = solve(problem, torch.float32, backend=name)
    assert torch.equal(found[0], y)
    assert all(torch.equal(found[1][key], grad) for key, grad in grads.items())
    assert explain(shape=(2, 2, 40, 17), states=3).startswith(f"{name}: ")


def test_the_shipped_network_is_large_enough_in_its_window_and_tests_are_not(calls: list[str]) -> None:
    assert explain().startswith("native: it is the fastest that works here\n")  # the scan of medsegmamba_small
    solve(cross_problem(Size(1, 2, 10, 3, 2)), torch.float32)
    assert not calls


def test_small_scans_take_the_kernel_on_request_only(calls: list[str]) -> None:
    inputs = leaves(cross_problem(Size(1, 2, 10, 3, 2)), torch.float32)
    cross_selective_scan(**inputs).sum().backward()
    assert not calls
    with scan_backend("native"):
        cross_selective_scan(**inputs).sum().backward()
    assert calls == ["forward", "backward"]


@pytest.mark.parametrize("backend", ["native", "auto"])
def test_compiled_graphs_take_the_kernel(backend: str, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "WORTHWHILE", UPDATES)
    problem = cross_problem(Size(2, 2, 40, 17, 3))
    eager, compiled = leaves(problem, torch.float32), leaves(problem, torch.float32)
    scan = torch.compile(cross_selective_scan, fullgraph=True, backend="aot_eager")
    found = scan(**compiled, backend=backend)
    found.sum().backward()
    assert calls == ["forward", "backward"]
    expected = cross_selective_scan(**eager, backend="native")
    expected.sum().backward()
    assert torch.equal(found, expected)
    for name, tensor in eager.items():
        if tensor.grad is not None:
            assert torch.equal(compiled[name].grad, tensor.grad), name


def test_the_command_explains_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    print_info()
    lines = capsys.readouterr().out.splitlines()
    assert "Selective scan on cpu: native: it is the fastest that works here" in lines
    assert any(line.startswith("- mamba_ssm: ") for line in lines)
