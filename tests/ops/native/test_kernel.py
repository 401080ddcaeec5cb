"""The compiled CPU kernel: values and gradients against the float64 reference, whatever the threads and processors."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import forked
import pytest
import torch
from scan_problems import (
    BACKWARD,
    FORWARD,
    SINGLE_SIZES,
    Size,
    assert_as_published,
    assert_close,
    assert_finite_at,
    cross_problem,
    deviation,
    leaves,
    scan_inputs,
    single_problem,
    solve,
)

from monai_mamba.errors import InputError
from monai_mamba.ops import cross_selective_scan, selective_scan
from monai_mamba.ops.custom_ops import scan_backward, scan_forward
from monai_mamba.ops.native import build, loading
from monai_mamba.ops.native.kernel import LARGE, Kernel, _new

pytestmark = pytest.mark.usefixtures("kernel")


@pytest.fixture
def threads() -> Iterator[None]:
    """Give the number of threads back."""
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


@pytest.mark.parametrize("merge", ["sum", None])
@pytest.mark.parametrize("shared", [True, False], ids=["one input", "one per direction"])
@pytest.mark.parametrize("ordered", [True, False], ids=["permuted", "as is"])
@pytest.mark.parametrize("size", [Size(2, 3, 70, 5, 3), Size(3, 2, 33, 20, 6)], ids=str)
def test_cross_scan_equals_the_reference(size: Size, ordered: bool, shared: bool, merge: str | None) -> None:
    problem = cross_problem(size, shared)
    if not ordered:
        problem["order"] = None
    expected = solve(problem, merge=merge, backend="reference")
    assert_close(*solve(problem, torch.float32, merge=merge, backend="native"), *expected)


@pytest.mark.parametrize(("batch", "groups", "channels", "length", "states"), [*SINGLE_SIZES, (1, 1, 3, 1000, 4)])
def test_selective_scan_equals_the_reference(batch: int, groups: int, channels: int, length: int, states: int) -> None:
    problem = single_problem(batch, groups, channels, length, states)
    expected = solve(problem, delta_softplus=True, backend="reference")
    assert_close(*solve(problem, torch.float32, delta_softplus=True, backend="native"), *expected)


@pytest.mark.parametrize("softplus", [False, True])
@pytest.mark.parametrize("absent", [(), ("D",), ("z",), ("delta_bias",), ("D", "z", "delta_bias")])
def test_optional_inputs(absent: tuple[str, ...], softplus: bool) -> None:
    problem = {name: tensor for name, tensor in single_problem(2, 1, 6, 21, 5).items() if name not in absent}
    if not softplus:
        problem["delta"] = problem["delta"].exp()
        if "delta_bias" in problem:
            problem["delta_bias"] = problem["delta_bias"].exp()
    expected = solve(problem, delta_softplus=softplus, backend="reference")
    assert_close(*solve(problem, torch.float32, delta_softplus=softplus, backend="native"), *expected)


@pytest.mark.parametrize("name", ["small", "vision", "long"])
def test_equals_published_values_and_gradients(shared: Path, name: str) -> None:
    assert_as_published(shared, name, "native", torch.float32)


def test_gradient_of_the_last_state() -> None:
    problem = single_problem(2, 1, 20, 70, 5)
    grads = []
    for backend, dtype in (("reference", torch.float64), ("native", torch.float32)):
        inputs = leaves(problem, dtype)
        selective_scan(**inputs, delta_softplus=True, return_last_state=True, backend=backend)[1].sum().backward()
        grads.append({name: inputs[name].grad for name in ("u", "delta", "A", "B", "delta_bias")})
    for name, grad in grads[1].items():
        assert deviation(grad, grads[0][name]) <= BACKWARD, name


@pytest.mark.parametrize("step", [0.0, 10.0, 1e3, 1e30])
def test_extreme_steps_stay_finite(step: float) -> None:
    assert_finite_at(step, "native")


def test_states_without_decay_keep_everything_at_extreme_steps() -> None:
    problem = single_problem(1, 1, 6, 30, 9)
    problem["A"][:, ::2] = 0
    problem["delta"] = torch.full_like(problem["delta"], 1e30)
    problem["u"] = problem["u"] / 1e30
    del problem["delta_bias"]
    expected, _ = solve(problem, backend="reference")
    found, _ = solve(problem, torch.float32, backend="native")
    assert deviation(found, expected) <= FORWARD


def test_decays_are_right_on_both_sides_of_where_the_exponential_changes() -> None:
    problem = single_problem(1, 1, 6, 100, 9)
    steps = torch.logspace(-3, 3, 100, dtype=torch.float64).expand_as(problem["delta"])
    problem["delta"], problem["u"] = steps.clone(), problem["u"] / steps
    del problem["delta_bias"]
    expected, _ = solve(problem, backend="reference")
    found, _ = solve(problem, torch.float32, backend="native")
    assert deviation(found, expected) <= FORWARD


@pytest.mark.parametrize("raw", [-100.0, -20.0, -5.0, -0.5, 0.0, 0.5, 5.0, 20.0, 100.0])
def test_softplus_is_accurate_everywhere(raw: float) -> None:
    """With A = 0 and B = C = u = 1 the first result is the step size itself."""
    ones = torch.ones(1, 1, 1)
    delta = torch.full((1, 1, 1), raw, requires_grad=True)
    y = selective_scan(ones, delta, torch.zeros(1, 1), ones, ones, delta_softplus=True, backend="native")
    y.backward(torch.ones_like(y))
    exact = torch.tensor(raw, dtype=torch.float64)
    torch.testing.assert_close(y.double().squeeze(), exact.exp().log1p(), rtol=5e-6, atol=1e-30)
    torch.testing.assert_close(delta.grad.double().squeeze(), exact.sigmoid(), rtol=5e-6, atol=1e-30)


def test_growing_states_and_infinity() -> None:
    problem = {name: tensor.float() for name, tensor in single_problem(1, 1, 2, 12, 2).items()}
    problem["A"] = -problem["A"]
    expected = selective_scan(**problem, delta_softplus=True, backend="reference")
    assert deviation(selective_scan(**problem, delta_softplus=True, backend="native"), expected) <= FORWARD
    problem["delta"] = problem["delta"] + 300
    assert not selective_scan(**problem, delta_softplus=True, backend="native").isfinite().all()


def test_not_a_number_is_passed_on() -> None:
    problem = {name: tensor for name, tensor in cross_problem(Size(1, 1, 20, 3, 2)).items() if name != "order"}
    problem = {name: tensor.float() for name, tensor in problem.items()}
    problem["delta"][0, 0, 10, 1] = torch.nan
    y = cross_selective_scan(**problem, order=None, backend="native")
    assert y[0, :10].isfinite().all()
    assert y[0, 10:, 1].isnan().all()
    assert y[0, :, [0, 2]].isfinite().all()


def test_strided_inputs_and_expanded_gradients() -> None:
    problem = {name: tensor.float() for name, tensor in single_problem(2, 1, 6, 14, 3).items()}
    del problem["D"], problem["z"]  # computed outside the kernel, with other roundings for other strides
    strided = {}
    for name, tensor in problem.items():
        spread = tensor.new_zeros(*tensor.shape[:-1], 2 * tensor.shape[-1])
        spread[..., ::2] = tensor
        strided[name] = spread[..., ::2].requires_grad_()
    plain = leaves(problem, torch.float32)
    expected = selective_scan(**plain, delta_softplus=True, backend="native")
    found = selective_scan(**strided, delta_softplus=True, backend="native")
    assert torch.equal(found, expected)
    expected.backward(torch.ones_like(expected))
    found.sum().backward()
    for name, tensor in plain.items():
        assert torch.equal(strided[name].grad, tensor.grad), name


def test_inputs_that_are_parts_of_one_tensor_are_read_in_place() -> None:
    problem = {name: tensor.float() for name, tensor in cross_problem(Size(2, 2, 9, 4, 3)).items() if name != "order"}
    parts = torch.cat([problem["delta"], problem["B"], problem["C"]], dim=-1).split([4, 3, 3], dim=-1)
    assert not any(part.is_contiguous() for part in parts)
    expected = cross_selective_scan(**problem, order=None, backend="native")
    problem |= dict(zip(("delta", "B", "C"), parts, strict=True))
    assert torch.equal(cross_selective_scan(**problem, order=None, backend="native"), expected)


def test_reading_along_tables_changes_no_bit() -> None:
    problem = {**cross_problem(Size(2, 3, 70, 37, 9), skip=False), "D": None, "delta_bias": None}
    order = problem.pop("order")
    inputs = {name: None if tensor is None else tensor.float() for name, tensor in problem.items()}
    direction = torch.arange(len(order))[:, None]
    gathered = {name: inputs[name][:, direction, order] for name in ("delta", "B", "C")}
    gathered = {**inputs, **gathered, "x": inputs["x"][:, order]}
    sequences = cross_selective_scan(**gathered, order=None, merge=None, backend="native")
    expected = sequences[:, direction, order.argsort(dim=1)]
    assert torch.equal(cross_selective_scan(**inputs, order=order, merge=None, backend="native"), expected)
    one, two, three = expected.unbind(1)
    assert torch.equal(cross_selective_scan(**inputs, order=order, backend="native"), one + two + three)


def test_integer_types_of_the_order() -> None:
    problem = cross_problem(Size(1, 2, 10, 3, 2))
    inputs = {name: tensor if name == "order" else tensor.float() for name, tensor in problem.items()}
    expected = cross_selective_scan(**inputs, backend="native")
    inputs["order"] = inputs["order"].int()
    assert torch.equal(cross_selective_scan(**inputs, backend="native"), expected)


@pytest.mark.parametrize("token", [-1, 10, None], ids=["below", "beyond", "twice"])
def test_order_that_is_no_permutation_is_refused(token: int | None) -> None:
    problem = cross_problem(Size(1, 2, 10, 3, 2))
    inputs = {name: tensor if name == "order" else tensor.float() for name, tensor in problem.items()}
    inputs["order"][1, 4] = inputs["order"][1, 3] if token is None else token
    with pytest.raises(InputError, match=r"order: .* 0 \.\. 9 once"):
        cross_selective_scan(**inputs, backend="native")


@pytest.mark.skipif(platform.system() != "Linux", reason="memory can be limited like this on Linux")
def test_without_memory_there_is_an_error() -> None:
    """Not the end of the process, which an exception of C++ would be that goes through its threads."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    ended = forked.run([sys.executable, "-m", "out_of_memory"], env=environment)
    assert ended.stdout == 2 * "The C++ scan: out of memory.\n"


@pytest.mark.parametrize("merge", ["sum", None])
@pytest.mark.parametrize("team", [True, False], ids=["threads of PyTorch", "own threads"])
@pytest.mark.usefixtures("threads")
def test_results_do_not_depend_on_threads(team: bool, merge: str | None, kernel: Kernel) -> None:
    if not team:
        kernel._team = None
    elif kernel._team is None:
        pytest.skip("PyTorch's threads are not to be had here")
    problem = cross_problem(Size(2, 3, 80, 70, 9))
    results = []
    for count in (1, 1, 2, 3):
        torch.set_num_threads(count)
        results.append(solve(problem, torch.float32, merge=merge, backend="native"))
    first, first_grads = results[0]
    for y, grads in results[1:]:
        assert torch.equal(y, first)
        for name, grad in grads.items():
            assert torch.equal(grad, first_grads[name]), name


def test_default_type_and_grad_mode_do_not_matter() -> None:
    problem = cross_problem(Size(1, 2, 10, 3, 2))
    inputs = {name: tensor if name == "order" else tensor.float() for name, tensor in problem.items()}
    expected = cross_selective_scan(**inputs, backend="native")
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(cross_selective_scan(**inputs, backend="native"), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(cross_selective_scan(**inputs, backend="native"), expected)


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="this system has no large pages")
def test_large_results_ask_for_large_pages() -> None:
    result = _new(LARGE // 4)
    middle = result.data_ptr() + LARGE // 2
    inside, flags = False, ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if area := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(area[1], 16) <= middle < int(area[2], 16)
        elif inside and line.startswith("VmFlags:"):
            flags = line
    assert " hg" in flags


def test_opcheck() -> None:
    # 16 channels fill the columns of the kept states: what lies in unused ones is not defined
    inputs = scan_inputs(cross_problem(Size(2, 3, 9, 16, 3))).to(torch.float32)
    apart = inputs._replace(merge=False)
    y, last_state, saved = scan_forward(*apart, True, "native")
    torch.library.opcheck(scan_backward, (torch.ones_like(y), last_state, saved, *apart, "native"))
    for tensor in inputs.tensors:
        tensor.requires_grad_()
    torch.library.opcheck(scan_forward, (*inputs, True, "native"))


def test_backward_without_kept_states_runs_the_forward_again() -> None:
    inputs = scan_inputs(cross_problem(Size(2, 3, 9, 4, 3))).to(torch.float32)
    y, _, saved = scan_forward(*inputs, True, "native")
    expected = scan_backward(y, None, saved, *inputs, "native")
    found = scan_backward(y, None, saved.new_empty(0), *inputs, "native")
    assert all(map(torch.equal, found, expected))


def instruction_sets() -> list[tuple[int, tuple[str, ...]]]:
    """Lanes and flags of what this processor can run, besides its best."""
    sets = [(4, ())]
    flags = Path("/proc/cpuinfo")
    if platform.machine() == "x86_64" and flags.exists() and {"avx2", "fma"} <= set(flags.read_text().split()):
        sets.append((8, ("-mavx2", "-mfma")))
    return sets


@pytest.mark.parametrize(("lanes", "flags"), instruction_sets())
def test_every_instruction_set_computes_the_same(lanes: int, flags: tuple[str, ...], tmp_path: Path) -> None:
    compiler = next(filter(None, map(shutil.which, build.COMPILERS)), None)
    if compiler is None:
        pytest.skip("there is no C++ compiler on the path")
    target = build.Target((compiler, *build.FLAGS, *flags), tmp_path / "scan.so")
    build.build(target)
    kernel = Kernel(target.library)
    assert kernel.lanes == lanes
    assert loading.self_check(kernel) <= BACKWARD
