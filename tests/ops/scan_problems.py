"""Scan problems with known properties, shared by the tests of the operators."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from monai_mamba.ops import cross_selective_scan, selective_scan
from monai_mamba.ops.problem import ScanInputs

NAMES = ("x", "delta", "A", "B", "C", "D", "delta_bias")
FORWARD = 1e-6  # largest deviation in float32
BACKWARD = 5e-6
SINGLE_SIZES = [
    (2, 1, 15, 2, 4),
    (1, 3, 16, 63, 16),
    (2, 2, 5, 64, 1),
    (1, 1, 48, 65, 7),
    (1, 1, 96, 20, 64),
    (1, 2, 2, 200, 3),
]


@dataclass(frozen=True)
class Size:
    """Sizes of a cross scan: batch, directions K, tokens L, channels E, states N."""

    batch: int
    directions: int
    length: int
    channels: int
    states: int


def cross_problem(size: Size, shared: bool = True, skip: bool = True, seed: int = 0) -> dict[str, Tensor | None]:
    """Inputs of `cross_selective_scan` in float64, spread like those of a trained network, and random permutations."""
    generator = torch.Generator().manual_seed(seed)
    b, k, n_tokens, e, n = size.batch, size.directions, size.length, size.channels, size.states

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return {
        "x": normal(b, n_tokens, e) if shared else normal(b, k, n_tokens, e),
        "delta": normal(b, k, n_tokens, e) - 2,
        "A": -torch.arange(1, n + 1, dtype=torch.float64) * (0.3 * normal(k, e, n)).exp(),
        "B": normal(b, k, n_tokens, n),
        "C": normal(b, k, n_tokens, n),
        "D": normal(k, e) if skip else None,
        "delta_bias": 0.5 * normal(k, e) if skip else None,
        "order": torch.stack([torch.randperm(n_tokens, generator=generator) for _ in range(k)]),
    }


def scan_inputs(problem: dict[str, Tensor | None], softplus: bool = True, merge: bool = True) -> ScanInputs:
    """The same as implementations take it; the skip connection is not theirs."""
    x = problem["x"]
    volumes = [x.unsqueeze(1) if x.ndim == 3 else x, *(problem[name] for name in ("delta", "A", "B", "C"))]
    return ScanInputs(*volumes, problem["delta_bias"], problem["order"], softplus, merge)


def single_problem(
    batch: int, groups: int, channels: int, length: int, states: int, seed: int = 0
) -> dict[str, Tensor]:
    """Inputs of `selective_scan` in float64, with ``groups`` groups of ``channels`` channels."""
    generator = torch.Generator().manual_seed(seed)
    wide = groups * channels

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return {
        "u": normal(batch, wide, length),
        "delta": normal(batch, wide, length) - 2,
        "A": -torch.arange(1, states + 1, dtype=torch.float64) * (0.3 * normal(wide, states)).exp(),
        "B": normal(batch, groups, states, length),
        "C": normal(batch, groups, states, length),
        "D": normal(wide),
        "z": normal(batch, wide, length),
        "delta_bias": 0.5 * normal(wide),
    }


def leaves(problem: dict[str, Tensor | None], dtype: torch.dtype) -> dict[str, Tensor | None]:
    """Copies that ask for a gradient; index tables stay as they are."""
    return {
        name: tensor.to(dtype, copy=True).requires_grad_()
        if tensor is not None and tensor.is_floating_point()
        else tensor
        for name, tensor in problem.items()
    }


def solve(
    problem: dict[str, Tensor | None], dtype: torch.dtype = torch.float64, **options: object
) -> tuple[Tensor, dict[str, Tensor]]:
    """Result of a scan and the gradients of a fixed random projection of it, by input name."""
    inputs = leaves(problem, dtype)
    scan = cross_selective_scan if "x" in inputs else selective_scan
    y = scan(**inputs, **options)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    (y.double() * weight).sum().backward()
    grads = {name: tensor.grad for name, tensor in inputs.items() if tensor is not None and tensor.grad is not None}
    return y.detach(), grads


def deviation(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference, relative to the largest absolute value expected."""
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))


def assert_close(found: Tensor, grads: dict[str, Tensor], expected: Tensor, expected_grads: dict[str, Tensor]) -> None:
    """Compare two results of `solve`, the first in float32."""
    assert found.shape == expected.shape
    assert deviation(found, expected) <= FORWARD
    assert grads.keys() == expected_grads.keys()
    for name, grad in expected_grads.items():
        assert deviation(grads[name], grad) <= BACKWARD, name


def assert_finite_at(step: float, backend: str) -> None:
    """A backend is right where all steps have this size, and its gradients are finite."""
    problem = single_problem(1, 1, 6, 30, 9)
    problem["delta"] = torch.full_like(problem["delta"], step)
    problem["u"] = problem["u"] / max(step, 1)
    del problem["delta_bias"]
    expected, _ = solve(problem, backend="reference")
    found, grads = solve(problem, torch.float32, backend=backend)
    assert deviation(found, expected) <= FORWARD
    for name, grad in grads.items():
        assert grad.isfinite().all(), name


def assert_as_published(
    folder: Path, name: str, backend: str, dtype: torch.dtype, forward: float = FORWARD, backward: float = BACKWARD
) -> None:
    """Compare values and gradients of a backend with the published ones of a problem."""
    tensors = pytest.importorskip("safetensors.torch").load_file(folder / "golden" / "selective_scan.safetensors")
    tensors = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
    names = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
    inputs = leaves({key: tensors[key] for key in names}, dtype)
    y, last_state = selective_scan(**inputs, delta_softplus=True, return_last_state=True, backend=backend)
    (y * tensors["grad_output"].to(dtype)).sum().backward()
    assert y.dtype == dtype
    assert deviation(y, tensors["y_gated"]) <= forward
    assert deviation(last_state, tensors["last_state"]) <= forward
    for key in names:
        assert deviation(inputs[key].grad, tensors[f"grad_{key}"]) <= backward, key
