"""Time and memory of the selective scan: all usable backends and the baselines, in turns, in one run."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from reports import dates, machine_line, number, table
from torch import Tensor

from monai_mamba.ops import cross_selective_scan, explain
from monai_mamba.ops.choice import BACKENDS as CHOICES
from monai_mamba.threads import usable_cores

from . import results
from .baselines import naive_scan, parallel_scan, repeating_scan
from .machine import Rates, Stopwatch, describe, peak_extra_memory, take_turns
from .problems import PROBLEMS, Problem, make_inputs, parse_problem
from .results import Row, groups

BASELINES = {
    "mamba-ssm pattern": repeating_scan,
    "mamba.py pattern": partial(parallel_scan, padded=True),
    "naive": naive_scan,
    "parallel scan": parallel_scan,
}
BACKENDS = tuple(name for name in CHOICES if name not in ("auto", "reference", "export"))
CPU_BASELINE_UPDATES = 1 << 27  # larger problems: baselines do one direction, in gigabytes of memory even so
# Of the forward: dt * A, 5 in its exponential, x * B, and one each for state and result. The backward needs all but the
# last again; then the gradients of state, result, B, C, x and its decay, and from that, those of A and dt.
FMAS_PER_UPDATE = {"forward": 9, "forward+backward": 9 + 8 + 8}
KEY = ("problem", "pass", "method", "layout", "device", "cpu", "gpu", "threads")

MACHINE = ("device", "cpu", "gpu", "threads", "torch", "pass")
ABOUT = """# Selective scan

Written by `tools/benchmark.py scan`; [docs/benchmarks.md](../benchmarks.md) explains problems and methods. A cell holds
the wall time of a call in ms (on one thread of a CPU the processor time) and, in brackets, the memory that the call
adds, in MiB. With *, one direction of one volume was measured and multiplied. `scan.jsonl` has every figure, among them
speed relative to each baseline, and shares of the machine's rates.
"""


class Contender(NamedTuple):
    """A way to compute a scan: a baseline or a backend of the package, in one of the `LAYOUTS`.

    "bare" scans K prepared sequences; "fused" reads and writes one volume through K traversals and sums; "gathered"
    does the same by indexing before and after a bare scan.
    """

    method: str
    layout: str


def _sequences(x: Tensor, order: Tensor, **others: Tensor) -> dict[str, Tensor]:
    """Arguments of a bare scan, the tokens taken as they lie."""
    return {"u": x[:, None].expand(others["delta"].shape).contiguous(), **others}


def bare_scan(backend: str, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, delta_bias: Tensor) -> Tensor:
    """Scan of prepared sequences by a backend; arguments and result as in `baselines`."""
    return cross_selective_scan(u, delta, A, B, C, None, None, delta_bias=delta_bias, merge=None, backend=backend)


def fused_scan(
    backend: str, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, delta_bias: Tensor, order: Tensor
) -> Tensor:
    """Cross scan of a volume, (B, L, E), by a backend."""
    return cross_selective_scan(x, delta, A, B, C, None, order, delta_bias=delta_bias, backend=backend)


def gathered_scan(
    backend: str, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, delta_bias: Tensor, order: Tensor
) -> Tensor:
    """The same result as `fused_scan` with the sequences made before the scan and put back after it."""
    direction = torch.arange(len(order), device=order.device)[:, None]
    u = x[:, order]
    delta, B, C = (volume[:, direction, order] for volume in (delta, B, C))
    y = bare_scan(backend, u, delta, A, B, C, delta_bias)
    return y[:, direction, order.argsort(dim=1)].sum(1)


LAYOUTS = {"bare": bare_scan, "fused": fused_scan, "gathered": gathered_scan}


def prepare(problem: Problem, contender: Contender, backward: bool, device: torch.device) -> Callable[[], Tensor]:
    """Make inputs, and the function that computes their scan, with all gradients if ``backward``."""
    method, layout = contender
    scan = BASELINES[method] if method in BASELINES else partial(LAYOUTS[layout], method)
    inputs = make_inputs(problem, device)
    arguments = _sequences(**inputs) if layout == "bare" else inputs
    leaves = [tensor.requires_grad_(backward) for tensor in arguments.values() if tensor.is_floating_point()]
    grad_y: Tensor | None = None

    def run() -> Tensor:
        nonlocal grad_y
        with torch.set_grad_enabled(backward):
            y = scan(**arguments)
            if backward:
                grad_y = torch.ones_like(y) if grad_y is None else grad_y  # made once: a scan gets it
                torch.autograd.grad(y, leaves, grad_y)
            return y

    return run


def contenders(methods: list[str]) -> list[Contender]:
    """What to compare: all methods on prepared sequences, and backends in the other layouts, too."""
    return [
        Contender(method, layout)
        for method in methods
        for layout in LAYOUTS
        if layout == "bare" or method not in BASELINES
    ]


def unusable(method: str, device: torch.device) -> str:
    """Why a method cannot run on a device; empty if it can."""
    if method in BASELINES:
        return ""
    found, _, reason = explain(device, backend=method).splitlines()[0].partition(": ")
    return "" if found == method else reason


def measure(
    problem: Problem, methods: list[str], backward: bool, threads: int, options: argparse.Namespace
) -> list[dict[str, object]]:
    """Time one pass of one problem on so many threads, everything in turns, and say what it takes in memory."""
    device = options.device
    torch.set_num_threads(threads)
    rates = Rates(device, threads)
    shared = {"benchmark": "scan", "pass": "forward+backward" if backward else "forward", "problem": problem.name}
    watches, parts, rows = {}, {}, []
    for contender in contenders(methods):
        large = device.type == "cpu" and problem.updates > CPU_BASELINE_UPDATES
        part = replace(problem, batch=1, directions=1) if large and contender.method in BASELINES else problem
        try:
            watches[contender] = Stopwatch(prepare(part, contender, backward, device), device)
        except torch.cuda.OutOfMemoryError:
            print(f"{problem.name}: {contender.method} does not fit into memory", file=sys.stderr)
            continue
        parts[contender] = part
    take_turns([rates, *watches.values()], options.repeats)
    for contender, watch in watches.items():
        part = parts[contender]
        scale = problem.updates // part.updates
        row = {**shared, "method": contender.method, "layout": contender.layout, "updates": problem.updates}
        row["scaled_from"] = f"1/{scale}" if scale > 1 else None
        row |= {name: seconds * scale for name, seconds in watch.result().items()}
        if options.memory:
            build = partial(prepare, contender=contender, backward=backward, device=device)
            small = Problem("", 1, 1, (2, 2, 2), part.channels, part.states)
            memory = peak_extra_memory(partial(build, part), device, threads, partial(build, small))
            row["peak_extra_MiB"] = None if memory is None else memory * scale
        rows.append({**row, "repeats": options.repeats, **rates.result(), **describe(device, threads)})
    for row in rows:
        add_ratios(row, rows)
    return rows


def add_ratios(row: dict[str, object], rows: list[dict[str, object]]) -> None:
    """Relate a row to the others of its run, and to the rates of the machine."""
    rate = row["updates"] / row["seconds"]
    row["updates_per_second"] = rate
    row["share_of_exp2_rate"] = rate / row["exp2_per_second"]
    row["share_of_fma_floor"] = FMAS_PER_UPDATE[row["pass"]] * rate / row["fma_per_second"]
    bare = {other["method"]: other["seconds"] for other in rows if other["layout"] == "bare"}
    for name in BASELINES:
        if name in bare:
            row["speedup_over_" + re.sub("[ .-]", "_", name)] = bare[name] / row["seconds"]
    if row["method"] in bare:
        row["times_bare"] = row["seconds"] / bare[row["method"]]


def markdown(rows: list[Row]) -> str:
    """Document of all rows, one table per machine, number of threads and pass."""
    parts = [ABOUT]
    for same in groups(rows, *MACHINE).values():
        exp2, fma = (max(row[name] for row in same) / 1e9 for name in ("exp2_per_second", "fma_per_second"))
        parts.append(
            f"\n## {same[0]['pass']}, {machine_line(same[0])}\n\n{dates(same)}; medians of "
            f"{min(row['repeats'] for row in same)} rounds or more. This machine computes {exp2:.3g} G exp2/s and "
            f"{fma:.4g} G multiply-adds/s ({same[0]['fma_from']}).\n\n"
        )
        problems = list(dict.fromkeys(row["problem"] for row in same))
        lines = []
        for (method, layout), cells in groups(same, "method", "layout").items():
            found = {row["problem"]: _cell(row) for row in cells}
            name = method if layout == "bare" else f"{method}, {layout}"
            lines.append([name, *(found.get(problem, "-") for problem in problems)])
        parts.append(table(("method", *problems), lines))
    return "".join(parts)


def _cell(row: Row) -> str:
    memory = f" ({number(row['peak_extra_MiB'])})" if row.get("peak_extra_MiB") is not None else ""
    return number(row["seconds"], 1e-3) + ("*" if row["scaled_from"] else "") + memory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    everything = [*BASELINES, *BACKENDS]
    names = f"{', '.join(PROBLEMS)}, or numbers B,K,H,W,D,E,N"
    parser.add_argument("--problem", nargs="+", type=parse_problem, default=list(PROBLEMS.values()), help=names)
    parser.add_argument("--backends", nargs="+", choices=everything, default=everything, metavar="NAME")
    parser.add_argument("--passes", nargs="+", choices=["forward", "forward+backward"], default=None)
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, usable_cores()}), help="of the CPU")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True, help="measure memory as well")
    results.add_common_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Print a line of JSON for each measurement; with an output folder, write the lines and a table there."""
    left_out = {method: reason for method in options.backends if (reason := unusable(method, options.device))}
    for method, reason in left_out.items():
        print(f"{method} is left out: {reason}", file=sys.stderr)
    methods = [method for method in options.backends if method not in left_out]
    threads = options.threads if options.device.type == "cpu" else options.threads[:1]
    for problem in options.problem:
        for name in options.passes or ("forward", "forward+backward"):
            for count in threads:
                rows = measure(problem, methods, name == "forward+backward", count, options)
                results.write("scan", rows, KEY, options.output_dir, markdown)
