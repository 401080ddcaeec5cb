"""Values, bits and time of every scan backend that works here, on a GPU unless --device says otherwise.

Backends are compared with float64 in plain PyTorch over sizes with incomplete blocks, repeated to see whether equal
inputs give equal bits, and timed on problems of `benchmark.py scan`. Next to the times stand the limits of the machine:
its memory bandwidth by a copy, and the exponentials it computes in registers. Prints tables; the file gets the same as
JSON. The exit status is 1 if a value is wrong or bits differ.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from reports import number, percent, table
from torch import Tensor

from monai_mamba.errors import DeviceError

from .machine import Stopwatch, describe, peak_extra_memory, take_turns
from .problems import PROBLEMS, Inputs, Problem, make_inputs, parse_problem
from .scan import BACKENDS, fused_scan, step, unusable

try:
    import triton
    import triton.language as tl
except ImportError:  # then no exponentials in registers are counted
    triton = None

ACCURACY = [
    Problem("one token", 1, 1, (1, 1, 1), 1, 1),
    Problem("tails", 2, 3, (5, 7, 2), 33, 20),
    Problem("few channels", 1, 2, (13, 11, 9), 15, 4),
    Problem("small", 1, 8, (6, 6, 6), 128, 16),
    Problem("long", 1, 1, (24, 24, 24), 96, 16),
    Problem("wide", 1, 4, (12, 12, 12), 256, 64),
    Problem("many states", 1, 2, (6, 6, 6), 48, 100),
]
TOLERANCES = {torch.float32: (1e-5, 5e-5), torch.bfloat16: (2e-2, 2e-2), torch.float16: (5e-3, 5e-3)}  # y, gradients
SHORT = ("x", "delta", "B", "C")  # what a network under autocast hands over in a short type
ROUNDS = 512  # of sixteen exponentials in the loop that counts them


def _arguments(inputs: Inputs, dtype: torch.dtype) -> dict[str, Tensor]:
    """Copies of the inputs in a type; float64 for all or none."""
    arguments = dict(vars(inputs))
    for name, tensor in arguments.items():
        if tensor.is_floating_point():
            arguments[name] = tensor.to(dtype if name in SHORT or dtype == torch.float64 else torch.float32, copy=True)
    return arguments


def solve(inputs: Inputs, dtype: torch.dtype, backend: str) -> dict[str, Tensor]:
    """y, and the gradients of a fixed projection of it by the name of the input."""
    arguments = _arguments(inputs, dtype)
    leaves = {name: leaf.requires_grad_() for name, leaf in arguments.items() if leaf.is_floating_point()}
    y = fused_scan(backend, **arguments)
    weight = torch.linspace(-1, 1, y.numel(), dtype=torch.float64, device=y.device).sin_().view(y.shape).to(y.dtype)
    return {"y": y.detach(), **dict(zip(leaves, torch.autograd.grad(y, list(leaves.values()), weight), strict=True))}


def check(problem: Problem, dtype: torch.dtype, backend: str, device: torch.device, repeats: int) -> dict[str, object]:
    """Compare a backend with float64, and with itself."""
    inputs = make_inputs(problem, device)
    rounded = {name: getattr(inputs, name).to(dtype).float() for name in SHORT}
    expected = solve(dataclasses.replace(inputs, **rounded), torch.float64, "torch")
    found = solve(inputs, dtype, backend)
    errors = {}
    for name, right in expected.items():
        difference = (found[name].double() - right).abs().max() / right.abs().max().clamp_min(1e-12)
        errors[name] = float(difference)
    bounds = TOLERANCES[dtype]
    right = all(error <= bounds[name != "y"] for name, error in errors.items())
    again = (solve(inputs, dtype, backend) for _ in range(repeats))
    steady = all(torch.equal(found[name], other[name]) for other in again for name in found)
    return {
        "backend": backend,
        "problem": problem.name,
        "dtype": str(dtype).removeprefix("torch."),
        "error_y": errors.pop("y"),
        "error_gradients": max(errors.values()),
        "largest_error_in": max(errors, key=lambda name: errors[name]),
        "right": right,
        "repeats": repeats,
        "equal_bits": steady,
    }


def _step(inputs: Inputs, dtype: torch.dtype, backend: str, backward: bool) -> Callable[[], Tensor]:
    """What is timed."""
    return step(partial(fused_scan, backend), _arguments(inputs, dtype), backward)


def speed(
    problem: Problem, dtype: torch.dtype, backends: list[str], device: torch.device, repeats: int
) -> list[dict[str, object]]:
    """Time the backends on a problem, in turns."""
    rows = []
    inputs = make_inputs(problem, device)
    for backward in (False, True):
        watches = {name: Stopwatch(_step(inputs, dtype, name, backward), device) for name in backends}
        take_turns(watches.values(), repeats)
        for name, watch in watches.items():
            row = {
                "backend": name,
                "problem": problem.name,
                "pass": "forward+backward" if backward else "forward",
                "dtype": str(dtype).removeprefix("torch."),
                "updates": problem.updates,
                **watch.result(),
                "repeats": repeats,
            }
            if device.type == "cuda":
                row["peak_extra_MiB"] = peak_extra_memory(lambda: _step(inputs, dtype, name, backward), device, 1)  # noqa: B023
            rows.append(row)
    return rows


if triton is not None:

    @triton.jit
    def _exponentials(values, rounds, SIZE: tl.constexpr):
        place = values + tl.program_id(0) * SIZE + tl.arange(0, SIZE)
        x = tl.load(place)
        for _ in range(0, rounds):
            for _ in tl.static_range(16):
                x = tl.exp2(-x)
        tl.store(place, x)


def limits(device: torch.device, repeats: int, elements: int) -> dict[str, float | None]:
    """Bytes per second of a copy, read and written, and exponentials per second; the latter on a GPU with Triton."""
    source = torch.ones(elements, device=device)
    target = torch.empty_like(source)
    watch = Stopwatch(lambda: target.copy_(source), device)
    take_turns([watch], repeats)
    found: dict[str, float | None] = {"bytes_per_second": 8 * elements / watch.result()["seconds"]}
    found["exp2_per_second"] = None
    if triton is not None and device.type == "cuda":
        programs = 32 * torch.cuda.get_device_properties(device).multi_processor_count
        values = torch.rand(programs * 512, device=device)
        watch = Stopwatch(lambda: _exponentials[(programs,)](values, ROUNDS, SIZE=512), device)
        take_turns([watch], repeats)
        found["exp2_per_second"] = values.numel() * ROUNDS * 16 / watch.result()["seconds"]
    return found


def add_shares(row: dict[str, object], problem: Problem, machine: dict[str, float | None]) -> None:
    """Relate the time of a forward to the least that the limits allow: one exponential for each update, and every
    input read and every output written once."""
    if row["pass"] != "forward":
        return
    size = 2 if row["dtype"] != "float32" else 4
    rows = problem.batch * problem.length
    read = size * rows * (problem.channels + problem.directions * (problem.channels + 2 * problem.states))
    row["share_of_bandwidth"] = (read + size * rows * problem.channels) / machine["bytes_per_second"] / row["seconds"]
    if machine["exp2_per_second"]:
        row["share_of_exp2_rate"] = problem.updates / machine["exp2_per_second"] / row["seconds"]


def tables(report: dict) -> str:
    """The report for people."""
    machine = report["machine"]
    lines = [f"{machine.get('gpu') or machine['cpu']}, PyTorch {machine['torch']}, {machine['date']}: "]
    lines.append(f"{number(machine['bytes_per_second'], 1e9)} GB/s, ")
    lines.append(f"{number(machine['exp2_per_second'], 1e9)} G exp2/s\n\n")
    for name, reason in report["left_out"].items():
        lines.append(f"{name} is left out: {reason}\n")
    checks = [
        (
            f"{row['problem']}, {row['dtype']}, {row['backend']}",
            f"{row['error_y']:.1e}",
            f"{row['error_gradients']:.1e} ({row['largest_error_in']})",
            "yes" if row["right"] else "NO",
            "yes" if row["equal_bits"] else "NO",
        )
        for row in report["accuracy"]
    ]
    lines.append("\n" + table(("scan", "error of y", "of gradients", "within tolerance", "equal bits"), checks))
    times = [
        (
            f"{row['problem']}, {row['dtype']}, {row['pass']}, {row['backend']}",
            number(row["seconds"], 1e-3),
            number(row["updates"] / row["seconds"], 1e9),
            percent(row.get("share_of_exp2_rate")),
            percent(row.get("share_of_bandwidth")),
            number(row.get("peak_extra_MiB")),
        )
        for row in report["speed"]
    ]
    headers = ("scan", "ms", "G updates/s", "of exp2 rate", "of bandwidth", "extra MiB")
    return "".join(lines) + "\n" + table(headers, times)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--problem", nargs="+", type=parse_problem, default=[PROBLEMS["W1"], PROBLEMS["W2"]])
    parser.add_argument("--repeats", type=int, default=20, help="of every scan that is compared with itself or timed")
    parser.add_argument("--output", type=Path, help="JSON file")


def run(options: argparse.Namespace) -> int:
    """Check, time and report; return the exit status.

    Raises:
        DeviceError: there is no GPU.
    """
    device = options.device
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError("PyTorch finds no GPU here. Install its CUDA build and a driver, or set --device cpu.")
    left_out = {name: reason for name in BACKENDS if (reason := unusable(name, device))}
    backends = [name for name in BACKENDS if name not in left_out]
    dtypes = [torch.float32, torch.bfloat16, torch.float16]
    accuracy = [
        check(problem, dtype, name, device, options.repeats)
        for problem in ACCURACY
        for dtype in dtypes
        for name in backends
    ]
    machine = limits(device, options.repeats, 1 << 28 if device.type == "cuda" else 1 << 20)
    rows = []
    for problem in options.problem:
        for dtype in dtypes[:2]:
            for row in speed(problem, dtype, backends, device, options.repeats):
                add_shares(row, problem, machine)
                rows.append(row)
    about = {**describe(device, torch.get_num_threads()), **machine, "triton": getattr(triton, "__version__", None)}
    if device.type == "cuda":
        about["cuda"] = torch.version.cuda
        about["capability"] = ".".join(map(str, torch.cuda.get_device_capability(device)))
        about["multiprocessors"] = torch.cuda.get_device_properties(device).multi_processor_count
    report = {"machine": about, "left_out": left_out, "accuracy": accuracy, "speed": rows}
    print(tables(report))
    if options.output:
        options.output.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0 if all(row["right"] and row["equal_bits"] for row in accuracy) else 1
