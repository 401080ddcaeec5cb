"""`selective_scan`: values and gradients against the published ones and against the float64 reference."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scan_problems import (
    BACKWARD,
    FORWARD,
    SINGLE_SIZES,
    assert_as_published,
    assert_close,
    assert_finite_at,
    deviation,
    leaves,
    single_problem,
    solve,
)
from torch import Tensor

from monai_mamba.errors import InputError
from monai_mamba.ops import selective_scan, torch_scan


@pytest.fixture(params=["all states kept", "states recomputed"])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which the backward comes by its states, the second one with several chunks and blocks."""
    if request.param == "states recomputed":
        monkeypatch.setattr(torch_scan, "KEEP_ALL_ELEMENTS", 0)
        monkeypatch.setattr(torch_scan, "ARRAY_ELEMENTS", 64)
        monkeypatch.setattr(torch_scan, "STEP_ELEMENTS", 1)
        monkeypatch.setattr(torch_scan, "MIN_CHUNK", 3)


@pytest.mark.parametrize(
    ("backend", "dtype", "forward", "backward"),
    [
        ("reference", torch.float64, 1e-12, 1e-12),
        ("torch", torch.float64, 1e-12, 1e-12),
        ("torch", torch.float32, FORWARD, BACKWARD),
    ],
)
@pytest.mark.parametrize("name", ["small", "vision", "long"])
def test_equals_published_values_and_gradients(
    shared: Path, name: str, backend: str, dtype: torch.dtype, forward: float, backward: float
) -> None:
    assert_as_published(shared, name, backend, dtype, forward, backward)


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize(("batch", "groups", "channels", "length", "states"), [(1, 1, 1, 1, 1), *SINGLE_SIZES])
def test_equals_the_reference(batch: int, groups: int, channels: int, length: int, states: int) -> None:
    problem = single_problem(batch, groups, channels, length, states)
    expected = solve(problem, delta_softplus=True, backend="reference")
    assert_close(*solve(problem, torch.float32, delta_softplus=True, backend="torch"), *expected)


@pytest.mark.parametrize("softplus", [False, True])
@pytest.mark.parametrize("absent", [("D",), ("z",), ("delta_bias",), ("D", "z", "delta_bias")])
def test_optional_inputs(absent: tuple[str, ...], softplus: bool) -> None:
    problem = single_problem(2, 1, 6, 21, 5)
    if not softplus:
        problem["delta"] = problem["delta"].exp()
        problem["delta_bias"] = problem["delta_bias"].exp()
    kept = {name: tensor for name, tensor in problem.items() if name not in absent}
    expected = solve(kept, delta_softplus=softplus, backend="reference")
    found, grads = solve(kept, torch.float32, delta_softplus=softplus, backend="torch")
    assert grads.keys() == kept.keys()
    assert_close(found, grads, *expected)


def test_ungrouped_is_one_group() -> None:
    problem = single_problem(1, 1, 4, 12, 3)
    grouped = selective_scan(**problem)
    problem["B"], problem["C"] = problem["B"].squeeze(1), problem["C"].squeeze(1)
    assert torch.equal(selective_scan(**problem), grouped)


@pytest.mark.usefixtures("memory")
def test_gradcheck() -> None:
    inputs = tuple(leaves(single_problem(1, 2, 2, 19, 2), torch.float64).values())

    def scan(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return selective_scan(*tensors, True, True, backend="torch")

    assert torch.autograd.gradcheck(scan, inputs, fast_mode=True)


def test_gradient_of_the_last_state_alone() -> None:
    problem = single_problem(1, 1, 4, 9, 3)
    grads = []
    for backend in ("reference", "torch"):
        inputs = leaves(problem, torch.float64)
        selective_scan(**inputs, delta_softplus=True, return_last_state=True, backend=backend)[1].sum().backward()
        grads.append({name: inputs[name].grad for name in ("u", "delta", "A", "B", "delta_bias")})
    for name, grad in grads[1].items():
        assert deviation(grad, grads[0][name]) <= 1e-12, name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs(dtype: torch.dtype) -> None:
    problem = single_problem(2, 1, 16, 50, 8)
    for name in ("u", "delta", "B", "C", "z"):
        problem[name] = problem[name].to(dtype).double()  # the same values in both types
    expected, expected_grads = solve(problem, delta_softplus=True, backend="reference")
    inputs = leaves(problem, torch.float32)
    halves = {name: inputs[name].detach().to(dtype).requires_grad_() for name in ("u", "delta", "B", "C", "z")}
    y = selective_scan(**(inputs | halves), delta_softplus=True, backend="torch")
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    (y.double() * weight).sum().backward()
    assert y.dtype == dtype
    assert deviation(y.detach(), expected) <= 2e-2
    for name, tensor in (inputs | halves).items():
        assert tensor.grad.dtype == tensor.dtype, name
        assert deviation(tensor.grad, expected_grads[name]) <= 2e-2, name


def test_states_stay_float32_under_autocast() -> None:
    problem = {name: tensor.float() for name, tensor in single_problem(1, 1, 8, 40, 4).items()}
    plain = selective_scan(**problem, delta_softplus=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        automatic = selective_scan(**problem, delta_softplus=True)
    assert automatic.dtype == torch.float32
    assert torch.equal(automatic, plain)


@pytest.mark.parametrize("step", [0.0, 10.0, 1e3])
def test_extreme_steps_stay_finite(step: float) -> None:
    assert_finite_at(step, "torch")


def test_non_contiguous_inputs() -> None:
    problem = {name: tensor.float() for name, tensor in single_problem(2, 1, 6, 14, 3).items()}
    strided = {}
    for name, tensor in problem.items():
        spread = tensor.new_zeros(*tensor.shape[:-1], 2 * tensor.shape[-1])
        spread[..., ::2] = tensor
        strided[name] = spread[..., ::2]
        assert not strided[name].is_contiguous()
    plain = selective_scan(**problem, delta_softplus=True)
    torch.testing.assert_close(selective_scan(**strided, delta_softplus=True), plain, rtol=0, atol=1e-6)


def test_inputs_are_left_alone_and_results_repeat() -> None:
    problem = single_problem(2, 2, 5, 33, 4)
    before = {name: tensor.clone() for name, tensor in problem.items()}
    first, first_grads = solve(problem, torch.float32, delta_softplus=True)
    second, second_grads = solve(problem, torch.float32, delta_softplus=True)
    assert torch.equal(first, second)
    for name, grad in first_grads.items():
        assert torch.equal(grad, second_grads[name]), name
        assert torch.equal(problem[name], before[name]), name


@pytest.mark.parametrize(
    ("name", "shape"),
    [("delta", (1, 4, 8)), ("A", (3, 2)), ("B", (1, 1, 3, 9)), ("C", (1, 2, 9)), ("D", (1, 4)), ("z", (2, 4, 9))],
)
def test_wrong_shapes_are_named(name: str, shape: tuple[int, ...]) -> None:
    problem = single_problem(1, 1, 4, 9, 2)
    problem[name] = torch.zeros(shape, dtype=torch.float64)
    with pytest.raises(InputError, match=rf"^{name} has shape .* expected "):
        selective_scan(**problem)


def test_groups_must_divide_the_channels() -> None:
    problem = single_problem(1, 1, 4, 9, 2)
    problem["B"] = problem["C"] = torch.zeros(1, 3, 2, 9, dtype=torch.float64)
    with pytest.raises(InputError, match="3 groups"):
        selective_scan(**problem)
