"""When the Triton kernels are used and when not, without a GPU; and their tests under Triton's interpreter."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from monai_mamba.ops import explain, torch_scan, triton_scan
from monai_mamba.ops.self_check import TOLERANCE
from monai_mamba.ops.triton_scan import plan, probe

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    probe.try_kernels.cache_clear()
    yield
    probe.try_kernels.cache_clear()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it seem that there is a GPU, down to where something would be computed on it."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(probe, "self_check", lambda *args: 1e-6)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.skipif(torch.cuda.is_available() or INTERPRETED, reason="they run by themselves here")
def test_kernels_under_the_interpreter() -> None:
    tests = [str(Path(__file__).with_name(f"test_{name}.py")) for name in ("kernels", "launch")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    result = subprocess.run(
        command,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[3],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert "skipped" not in result.stdout


def test_importing_the_package_does_not_import_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    package = importlib.import_module("monai_mamba.ops.triton_scan")
    monkeypatch.setattr(sys.modules["monai_mamba.ops"], "triton_scan", package)  # put back afterwards
    for name in [name for name in sys.modules if name.startswith(package.__name__)]:
        monkeypatch.delitem(sys.modules, name)
    assert importlib.import_module(package.__name__) is not package
    assert f"{package.__name__}.kernels" not in sys.modules


def obstacle(dtype: torch.dtype = torch.float32, states: int = 16) -> str:
    return triton_scan.obstacle(GPU, dtype, states)


def test_other_devices_float64_and_many_states_are_refused(gpu: None) -> None:
    assert explain("cpu", backend="triton").startswith("torch: the tensors are on cpu, triton needs cuda\n")
    assert explain(GPU, torch.float64, backend="triton").startswith("torch: triton does not compute in float64\n")
    refused = "torch: triton holds at most 256 states, found 257\n"
    assert explain(GPU, states=257, backend="triton").startswith(refused)
    assert explain(GPU, states=256, backend="triton").startswith("triton: ")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_nothing_stands_in_the_way_on_a_gpu() -> None:
    assert obstacle(torch.bfloat16, 5) == ""


def test_builds_for_other_gpus_and_old_gpus_are_refused(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert "need compute capability 8.0, found 7.5" in obstacle()
    probe.try_kernels.cache_clear()
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "this build of PyTorch is for other GPUs" in obstacle()


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (ModuleNotFoundError("No module named 'triton'", name="triton"), "Triton is not installed"),
        (ImportError("undefined symbol"), "do not run here (ImportError: undefined symbol)"),
        (RuntimeError("PTX was compiled"), "do not run here (RuntimeError: PTX was compiled)"),
    ],
    ids=["missing", "broken", "not compiled"],
)
def test_failures_become_reasons(gpu: None, monkeypatch: pytest.MonkeyPatch, failure: Exception, words: str) -> None:
    def fail(*args: object) -> float:
        raise failure

    monkeypatch.setattr(probe, "self_check", fail)
    assert words in obstacle()


@pytest.mark.parametrize("error", [1.0, float("nan")])
def test_wrong_values_are_refused(gpu: None, monkeypatch: pytest.MonkeyPatch, error: float) -> None:
    monkeypatch.setattr(probe, "self_check", lambda *args: error)
    assert "compute wrong values here" in obstacle()


def test_each_kind_of_scan_is_tried_once(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr(probe, "self_check", lambda *kind: tried.append(kind) or 0.0)
    for states in (9, 16, 17):
        for dtype in (torch.float32, torch.bfloat16):
            assert obstacle(dtype, states) == ""
    assert [(dtype, states) for _, dtype, states in tried] == [
        (torch.float32, 16),
        (torch.bfloat16, 16),
        (torch.float32, 32),
        (torch.bfloat16, 32),
    ]


def test_tensors_without_numbers_are_refused_for_now(gpu: None) -> None:
    with FakeTensorMode():
        assert "have no data" in obstacle()
    assert obstacle() == ""


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (1.001, False), (float("nan"), False)])
def test_the_self_check_compares_values_and_gradients(
    monkeypatch: pytest.MonkeyPatch, factor: float, passes: bool
) -> None:
    def backward(*args: object) -> tuple[torch.Tensor, ...]:
        *others, last = torch_scan.backward(*args)
        return (*others, last * factor)

    monkeypatch.setattr(probe.launch, "forward", torch_scan.forward)
    monkeypatch.setattr(probe.launch, "backward", backward)
    monkeypatch.setattr(plan, "MIN_CHUNK", plan.INTERVAL)
    assert (probe.self_check(CPU, torch.float32, 3) <= TOLERANCE) == passes
