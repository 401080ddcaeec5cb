"""The check of the scans on a GPU runs on the CPU too, on tiny problems: what it reports, that it sees wrong values."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import benchmark
import pytest
import torch


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return importlib.import_module("benchmarks.check")


@pytest.fixture
def run(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], tuple[int, dict]]:
    """Run the command line on the CPU; exit status and JSON."""
    monkeypatch.setattr(tool, "ACCURACY", [tool.Problem("tails", 2, 3, (2, 1, 3), 5, 3)])
    monkeypatch.setattr(tool, "BACKENDS", ("torch", "mamba_ssm"))
    file = tmp_path / "report.json"
    arguments = ["benchmark.py", "check", "--device", "cpu", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--output", str(file)])
    return lambda: (benchmark.main(), json.loads(file.read_text(encoding="utf-8")))


def test_reports_errors(run: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    status, report = run()
    assert status == 0
    assert set(report["left_out"]) == {"mamba_ssm"}
    assert [row["dtype"] for row in report["accuracy"]] == ["float32", "bfloat16", "float16"]
    for row in report["accuracy"]:
        assert row["backend"] == "torch"
        assert row["right"]
        assert row["equal_bits"]
    errors = [row["error_y"] for row in report["accuracy"]]
    assert 0 < errors[0] < 1e-6 < errors[2] < errors[1] < 2e-2
    assert report["machine"]["torch"] == torch.__version__
    text = capsys.readouterr().out
    assert "mamba_ssm is left out: the tensors are on cpu" in text
    assert "| tails, bfloat16, torch |" in text
    assert "NO" not in text


def test_wrong_values_and_changing_bits_fail(tool: ModuleType, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    right = tool.fused_scan
    calls = []

    def noisy(backend: str, **arguments: object) -> torch.Tensor:
        y = right(backend, **arguments)
        calls.append(y)
        return y if y.dtype == torch.float64 else y * (1 + 0.1 * len(calls))

    monkeypatch.setattr(tool, "fused_scan", noisy)
    status, report = run()
    assert status == 1
    assert not any(row["right"] or row["equal_bits"] for row in report["accuracy"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_a_gpu_is_told(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "check"])
    assert benchmark.main() == 1
    assert "finds no GPU" in capsys.readouterr().err
