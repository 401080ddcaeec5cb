"""The benchmark prints what a figure belongs to, and shares that are shares."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from monai_mamba import MedSegMamba

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "benchmark.py"


@pytest.fixture
def benchmark(monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmark_tool", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tiny = {"with": lambda: MedSegMamba(channels=(8, 8, 8), depth=1, d_state=2, stem_stride=2)}
    tiny["without"] = lambda: MedSegMamba(channels=(8, 8, 8), depth=1, mixer=None, stem_stride=2)
    monkeypatch.setattr(module, "NETWORKS", tiny)
    return module


def test_network_costs_are_printed_with_their_machine(benchmark, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmark.py", "network", "--repeats", "1", "--threads", "1"])
    benchmark.main()
    rows = {row["network"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert set(rows) == {"with", "without"}
    for row in rows.values():
        assert row["seconds_per_window"] > 0
        assert 0 < row["share_convolution"] < 1
        assert {"cpu", "threads", "torch", "date", "parameters"} <= set(row)
    assert rows["with"]["share_scan"] > 0
    assert rows["without"]["share_scan"] == 0
    assert rows["with"]["parameters"] > rows["without"]["parameters"]
