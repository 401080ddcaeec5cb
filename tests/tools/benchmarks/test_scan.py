"""The scan benchmark on tiny problems: what it compares computes the same, and its figures agree with each other."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from reports import number

from monai_mamba.ops import explain
from monai_mamba.ops.problem import ScanInputs
from monai_mamba.ops.reference import reference_scan

TINY = "1,2,2,3,2,16,4"
CPU = torch.device("cpu")


@pytest.fixture
def modules():
    names = ("baselines", "machine", "problems", "scan")
    return argparse.Namespace(**{name: importlib.import_module(f"benchmarks.{name}") for name in names})


def benchmark(monkeypatch, capsys, *arguments: object) -> tuple[list[dict], str]:
    """Run the command line; its rows, and what it says on stderr."""
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "scan", *map(str, arguments)])
    importlib.import_module("benchmark").main()
    output = capsys.readouterr()
    return [json.loads(line) for line in output.out.splitlines()], output.err


@pytest.mark.parametrize("name", ["mamba-ssm pattern", "mamba.py pattern", "naive", "parallel scan"])
@pytest.mark.parametrize("length", [1, 2, 7, 8, 13])
def test_baselines_equal_the_reference(modules, name, length):
    generator = torch.Generator().manual_seed(length)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    b, k, e, n = 2, 2, 3, 4
    inputs = [normal(b, k, length, e), normal(b, k, length, e) - 1, -normal(k, e, n).exp()]
    inputs += [normal(b, k, length, n), normal(b, k, length, n), normal(k, e)]
    grad_y = normal(b, k, length, e)

    def reference(*tensors):
        return reference_scan(ScanInputs(*tensors, None, True, merge=False))[0]

    results = []
    for scan in (modules.scan.BASELINES[name], reference):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        y = scan(*leaves)
        results.append([y, *torch.autograd.grad(y, leaves, grad_y)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backward", [False, True])
def test_all_contenders_of_a_layout_compute_the_same(modules, backward):
    scan, problem = modules.scan, modules.problems.parse_problem("2,3,2,3,2,16,4")
    contenders = scan.contenders([*scan.BASELINES, "torch", "reference"])
    assert len(contenders) == 4 + 2 * 3
    results = {contender: scan.prepare(problem, contender, backward, CPU)().detach() for contender in contenders}
    bare = results[scan.Contender("reference", "bare")]
    assert bare.shape == (2, 3, 12, 16)
    fused = results[scan.Contender("reference", "fused")]
    assert fused.shape == (2, 12, 16)
    assert not torch.allclose(bare.sum(1), fused, rtol=1e-3)
    for contender, found in results.items():
        torch.testing.assert_close(found, bare if contender.layout == "bare" else fused, rtol=1e-4, atol=1e-5)


def test_command_line_writes_rows_and_table(modules, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(modules.scan, "CPU_BASELINE_UPDATES", 100)
    monkeypatch.setattr(modules.machine, "LARGEST_COUNT", 2)
    arguments = ["--problem", TINY, "--threads", 1, "--repeats", 2, "--no-memory", "--output_dir", tmp_path]
    arguments += ["--backends", *modules.scan.BASELINES, "mamba_ssm", "torch"]
    rows, errors = benchmark(monkeypatch, capsys, *arguments)
    assert "mamba_ssm is left out: " in errors
    assert {row["pass"] for row in rows} == {"forward", "forward+backward"}
    for backward in ("forward", "forward+backward"):
        same = {(row["method"], row["layout"]): row for row in rows if row["pass"] == backward}
        assert {("torch", "bare"), ("torch", "fused"), ("torch", "gathered"), ("naive", "bare")} <= set(same)
        for (method, _), row in same.items():
            assert row["updates"] == 2 * 12 * 16 * 4
            assert row["scaled_from"] == ("1/2" if method in modules.scan.BASELINES else None)
            assert 0 < row["shortest_seconds"] <= row["seconds"]
            assert row["cpu_seconds"] > 0
            naive, bare = same["naive", "bare"]["seconds"], same[method, "bare"]["seconds"]
            assert row["speedup_over_naive"] == pytest.approx(naive / row["seconds"])
            for name in ("mamba-ssm", "mamba.py"):
                pattern = same[f"{name} pattern", "bare"]["seconds"]
                column = f"speedup_over_{name.replace('-', '_').replace('.', '_')}_pattern"
                assert row[column] == pytest.approx(pattern / row["seconds"])
            assert row["times_bare"] == pytest.approx(row["seconds"] / bare)
            assert row["updates_per_second"] == pytest.approx(row["updates"] / row["seconds"])
            assert row["share_of_exp2_rate"] == pytest.approx(row["updates_per_second"] / row["exp2_per_second"])
            fmas = row["updates_per_second"] * {"forward": 9, "forward+backward": 25}[backward]
            assert row["share_of_fma_floor"] == pytest.approx(fmas / row["fma_per_second"])
            assert {"cpu", "threads", "torch", "date", "device", "fma_from", "repeats"} <= set(row)
    text = (tmp_path / "scan.md").read_text()
    assert f"| method | {TINY} |" in text
    naive = next(row for row in rows if row["method"] == "naive" and row["pass"] == "forward")
    assert f"| naive | {number(naive['seconds'], 1e-3)}* |" in text
    for part in (
        "## forward, 1 thread of",
        "## forward+backward, 1 thread of",
        "| torch, fused |",
        "| torch, gathered |",
    ):
        assert part in text

    before = (tmp_path / "scan.jsonl").read_text().splitlines()
    again, _ = benchmark(monkeypatch, capsys, *arguments, "--passes", "forward", "--backends", "torch")
    after = [json.loads(line) for line in (tmp_path / "scan.jsonl").read_text().splitlines()]
    assert len(after) == len(before) == len(rows)
    fused = next(row for row in again if row["layout"] == "fused")
    assert fused in after
    assert next(row for row in rows if row["layout"] == "fused" and row["pass"] == "forward") not in after


def test_peak_memory_is_that_of_the_call_alone(modules):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not tell the peak of the resident set")
    held = partial(partial, torch.ones, 1 << 24)  # 64 MiB
    found = modules.machine.peak_extra_memory(held, CPU, 1, warm_up=partial(partial, torch.ones, 1 << 25))
    assert found == pytest.approx(64, abs=8)


@pytest.mark.parametrize(("backward", "limit"), [(False, 40), (True, 120)])
@pytest.mark.parametrize("backend", ["torch", "native"])
def test_a_direction_of_the_published_network_takes_little_memory(modules, backend, backward, limit):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not tell the peak of the resident set")
    if not explain(backend=backend).startswith(f"{backend}: "):
        pytest.skip("the native kernel cannot be compiled here")
    contender = modules.scan.Contender(backend, "fused")
    build = partial(modules.scan.prepare, contender=contender, backward=backward, device=CPU)
    problem = modules.problems.PROBLEMS["W1-one-direction"]
    small = replace(problem, grid=(2, 2, 2))
    found = modules.machine.peak_extra_memory(partial(build, problem), CPU, 1, partial(build, small))
    result = problem.length * problem.channels * 4 / 2**20
    assert result / 2 < found < limit  # the result may take pages that were there


def test_rates_of_the_machine(modules):
    rates = modules.machine.Rates(CPU, 1)
    rates.sample()
    found = rates.result()
    assert min(found["fma_per_second"], found["exp2_per_second"]) > 1e6  # a millionth of a processor's


@pytest.mark.parametrize("text", ["W3x", "1,2,3", "1,9,2,2,2,4,4", "1,1,2,2,0,4,4", "1,1,2,2,2,4,x"])
def test_unknown_problems_are_refused(modules, text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected one of W1"):
        modules.problems.parse_problem(text)
