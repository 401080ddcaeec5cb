"""Every backend against the float64 reference: values and gradients over sizes, tails, options and types of the input.

Which backends take part depends on the machine: those for a GPU need one. The columns of `CASES` hold every size of
interest at least once, and each with different neighbors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import pytest
import torch
from scan_problems import Size, assert_close, cross_problem, deviation, leaves, solve
from torch import Tensor

from monai_mamba.ops import cross_selective_scan, explain

HALF = 2e-2  # for bfloat16 and float16 inputs
BACKENDS = ("torch", "export", "native", "triton", "mamba_ssm")

# size, then: one input for all directions, permuted, merged, with bias and skip, state matrix as initialized
CASES = [
    (Size(1, 1, 1, 1, 1), True, True, True, True, False),
    (Size(2, 1, 2, 15, 4), False, True, False, False, False),
    (Size(1, 2, 63, 16, 16), True, True, True, True, True),
    (Size(1, 1, 64, 48, 64), True, False, True, False, False),
    (Size(2, 2, 65, 96, 100), False, True, True, True, False),
    (Size(1, 1, 1000, 130, 1), True, True, False, True, True),
    (Size(1, 2, 1000, 1, 16), True, False, False, True, False),
    (Size(1, 3, 65, 130, 64), True, True, True, True, True),
    (Size(3, 1, 64, 15, 100), False, False, False, True, False),
    (Size(1, 8, 63, 48, 1), True, True, True, False, False),
    (Size(2, 3, 2, 96, 64), True, True, False, True, True),
    (Size(1, 2, 1, 130, 100), False, False, True, True, False),
    (Size(1, 4, 1000, 16, 4), True, True, True, True, False),
]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A backend that can be used here, and the device it runs on."""
    name = request.param
    if name == "native":
        request.getfixturevalue("kernel")
        return name, "cpu"
    if name in ("torch", "export"):
        return name, "cpu"
    if not torch.cuda.is_available():
        pytest.skip(f"{name} needs a GPU")
    text = explain("cuda", backend=name)
    if not text.startswith(f"{name}: "):
        pytest.skip(text.splitlines()[0])
    return name, "cuda"


@functools.cache
def problem_and_solution(case: int) -> tuple[dict[str, Tensor | None], dict[str, object], Tensor, dict[str, Tensor]]:
    size, shared, ordered, merged, skip, initial = CASES[case]
    problem = cross_problem(size, shared, skip, seed=case)
    if not ordered:
        problem["order"] = None
    if initial:
        problem["A"] = -torch.arange(1, size.states + 1, dtype=torch.float64).expand_as(problem["A"]).contiguous()
    options = {"merge": "sum" if merged else None}
    return problem, options, *solve(problem, backend="reference", **options)


def on(device: str, problem: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
    return {name: None if tensor is None else tensor.to(device) for name, tensor in problem.items()}


@pytest.mark.parametrize("case", range(len(CASES)), ids=[str(case[0]) for case in CASES])
def test_values_and_gradients(case: int, backend: tuple[str, str]) -> None:
    name, device = backend
    problem, options, expected, expected_grads = problem_and_solution(case)
    found, grads = solve(on(device, problem), torch.float32, backend=name, **options)
    assert_close(found, grads, expected, expected_grads)


@pytest.mark.parametrize("merge", ["sum", None])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs(dtype: torch.dtype, merge: str | None, backend: tuple[str, str]) -> None:
    name, device = backend
    problem = cross_problem(Size(2, 2, 50, 17, 8))
    halves = ("x", "delta", "B", "C")
    for key in halves:
        problem[key] = problem[key].to(dtype).double()  # the same values in both types
    expected, expected_grads = solve(problem, merge=merge, backend="reference")
    inputs = leaves(on(device, problem), torch.float32)
    inputs |= {key: inputs[key].detach().to(dtype).requires_grad_() for key in halves}
    y = cross_selective_scan(**inputs, merge=merge, backend=name)
    assert y.dtype == dtype
    assert deviation(y.cpu(), expected) <= HALF
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    (y.double() * weight.to(device)).sum().backward()
    for key, grad in expected_grads.items():
        assert inputs[key].grad.dtype == inputs[key].dtype, key
        assert deviation(inputs[key].grad.cpu(), grad) <= HALF, key


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set the number of threads; it is given back."""
    count = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(count)


@pytest.mark.parametrize("merge", ["sum", None])
def test_results_repeat_and_values_do_not_depend_on_threads(
    merge: str | None, backend: tuple[str, str], threads: Callable[[int], None]
) -> None:
    name, device = backend
    problem = on(device, cross_problem(Size(1, 2, 130, 70, 9)))
    threads(1)
    first, first_grads = solve(problem, torch.float32, merge=merge, backend=name)
    again, grads = solve(problem, torch.float32, merge=merge, backend=name)
    threads(2)
    parallel, _ = solve(problem, torch.float32, merge=merge, backend=name)
    assert torch.equal(again, first)
    assert torch.equal(parallel, first)
    for key, grad in grads.items():
        assert torch.equal(grad, first_grads[key]), key
