"""Time and memory of the subcortical bundle, whole head, from file to file."""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from . import report
from .machine import describe
from .report import Row, dates, groups, machine_line, number, table

CONFIG = Path(__file__).resolve().parents[2] / "bundles" / "subcortical" / "configs" / "inference.json"
KEY = ("input", "amp", "mirror", "device", "cpu", "gpu", "threads")


def segment(options: argparse.Namespace, amp: str, mirror: str) -> tuple[float, float]:
    """Run the bundle in a process of its own; return wall seconds and its peak memory in GiB."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(CONFIG), "--output_dir", folder]
        command += ["--device", options.device.type, "--amp", amp, "--mirror", mirror]
        command += ["--input", options.input] if options.input else []
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
    return seconds, usage.ru_maxrss / 1024**2


def markdown(rows: list[Row]) -> str:
    """Document of all rows, one section per machine."""
    parts = ["# From scan to labels\n\nWritten by `tools/benchmark.py scan-to-labels`; see docs/benchmarks.md.\n"]
    for same in groups(rows, "device", "cpu", "gpu", "threads", "torch", "input").values():
        parts.append(f"\n## {same[0]['input']}\n\n{machine_line(same[0])}; {dates(same)}; medians of ")
        parts.append(f"{min(len(row['all_seconds']) for row in same)} runs or more.\n\n")
        headers = ("amp, mirror", "s", "peak GiB")
        cells = ([f"{row['amp']}, {row['mirror']}", *(number(row[k]) for k in ("seconds", "peak_GiB"))] for row in same)
        parts.append(table(headers, cells))
    return "".join(parts)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    text = "values of the bundle's option to compare"
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--input", help="scan instead of the bundle's sample")
    parser.add_argument("--amp", nargs="+", choices=["True", "False"], default=["True"], help=text)
    parser.add_argument("--mirror", nargs="+", choices=["True", "False"], default=["True"], help=text)
    report.add_common_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Print a line of JSON for each combination of the bundle's options, run in turns."""
    runs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(options.repeats):
        for amp, mirror in itertools.product(options.amp, options.mirror):
            runs.setdefault((amp, mirror), []).append(segment(options, amp, mirror))
    rows = [
        {
            "benchmark": "scan-to-labels",
            "input": Path(options.input).name if options.input else "the bundle's sample",
            "amp": amp,
            "mirror": mirror,
            "seconds": median(seconds for seconds, _ in results),
            "all_seconds": [seconds for seconds, _ in results],
            "peak_GiB": max(peak for _, peak in results),
            **describe(options.device, options.threads),
        }
        for (amp, mirror), results in runs.items()
    ]
    report.write("scan-to-labels", rows, KEY, options.output_dir, markdown)
