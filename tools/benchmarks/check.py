"""Values and bits of every scan backend that works here, on a GPU unless --device says otherwise.

Backends are compared with float64 in plain PyTorch over sizes with incomplete blocks, and repeated to see whether equal
inputs give equal bits; `benchmark.py scan --device cuda` times them. Prints a table; the file gets the same as JSON.
The exit status is 1 if a value is wrong or bits differ.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from reports import table
from torch import Tensor

from monai_mamba.errors import DeviceError

from .machine import describe
from .problems import Problem, make_inputs
from .scan import BACKENDS, fused_scan, unusable

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


def solve(inputs: Mapping[str, Tensor], dtype: torch.dtype, backend: str) -> dict[str, Tensor]:
    """y, and the gradients of a fixed projection of it by the name of the input; float64 is that of all inputs."""
    leaves = {
        name: tensor.to(dtype if name in SHORT or dtype == torch.float64 else torch.float32, copy=True).requires_grad_()
        for name, tensor in inputs.items()
        if tensor.is_floating_point()
    }
    y = fused_scan(backend, **{**inputs, **leaves})
    weight = torch.linspace(-1, 1, y.numel(), dtype=torch.float64, device=y.device).sin_().view(y.shape).to(y.dtype)
    return {"y": y.detach(), **dict(zip(leaves, torch.autograd.grad(y, list(leaves.values()), weight), strict=True))}


def check(problem: Problem, dtype: torch.dtype, backend: str, device: torch.device, repeats: int) -> dict[str, object]:
    """Compare a backend with float64, and with itself."""
    inputs = make_inputs(problem, device)
    rounded = {name: inputs[name].to(dtype).float() for name in SHORT}
    expected = solve({**inputs, **rounded}, torch.float64, "torch")
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


def tables(report: dict) -> str:
    """The report for people."""
    machine = report["machine"]
    lines = [f"{machine.get('gpu') or machine['cpu']}, PyTorch {machine['torch']}, {machine['date']}\n"]
    lines += [f"{name} is left out: {reason}\n" for name, reason in report["left_out"].items()]
    rows = [
        (
            f"{row['problem']}, {row['dtype']}, {row['backend']}",
            f"{row['error_y']:.1e}",
            f"{row['error_gradients']:.1e} ({row['largest_error_in']})",
            "yes" if row["right"] else "NO",
            "yes" if row["equal_bits"] else "NO",
        )
        for row in report["accuracy"]
    ]
    return "".join(lines) + "\n" + table(("scan", "error of y", "of gradients", "within tolerance", "equal bits"), rows)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--repeats", type=int, default=20, help="of every scan")
    parser.add_argument("--output", type=Path, help="JSON file")


def run(options: argparse.Namespace) -> int:
    """Check and report; return the exit status."""
    device = options.device
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError("PyTorch finds no GPU here. Install its CUDA build and a driver, or set --device cpu.")
    left_out = {name: reason for name in BACKENDS if (reason := unusable(name, device))}
    backends = [name for name in BACKENDS if name not in left_out]
    accuracy = [
        check(problem, dtype, name, device, options.repeats)
        for problem in ACCURACY
        for dtype in TOLERANCES
        for name in backends
    ]
    about = describe(device, torch.get_num_threads())
    if device.type == "cuda":
        about["cuda"] = torch.version.cuda
        about["capability"] = ".".join(map(str, torch.cuda.get_device_capability(device)))
        about["multiprocessors"] = torch.cuda.get_device_properties(device).multi_processor_count
    report = {"machine": about, "left_out": left_out, "accuracy": accuracy}
    print(tables(report))
    if options.output:
        options.output.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0 if all(row["right"] and row["equal_bits"] for row in accuracy) else 1
