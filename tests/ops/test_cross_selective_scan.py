"""`cross_selective_scan` against gathering, scanning and scattering by hand, and against the reference."""

from __future__ import annotations

import pytest
import torch
from scan_problems import Size, cross_problem, deviation, leaves, solve

from monai_mamba.errors import InputError
from monai_mamba.ops import cross_selective_scan, selective_scan, torch_scan

SIZES = [Size(1, 1, 1, 1, 1), Size(2, 3, 70, 5, 3), Size(1, 8, 27, 16, 1), Size(3, 2, 33, 20, 6)]


@pytest.mark.parametrize("merge", ["sum", None])
@pytest.mark.parametrize("shared", [True, False], ids=["one input", "one per direction"])
@pytest.mark.parametrize("ordered", [True, False], ids=["permuted", "as is"])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_equals_the_reference(
    size: Size, recompute: bool, ordered: bool, shared: bool, merge: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if recompute:
        monkeypatch.setattr(torch_scan, "KEEP_ALL_ELEMENTS", 0)
        monkeypatch.setattr(torch_scan, "ARRAY_ELEMENTS", 128)
        monkeypatch.setattr(torch_scan, "STEP_ELEMENTS", 64)
        monkeypatch.setattr(torch_scan, "MIN_CHUNK", 3)
    problem = cross_problem(size, shared)
    if not ordered:
        problem["order"] = None
    expected, expected_grads = solve(problem, merge=merge, backend="reference")
    found, grads = solve(problem, torch.float32, merge=merge, backend="torch")
    assert found.shape == expected.shape
    assert deviation(found, expected) <= 1e-6
    for name, grad in expected_grads.items():
        assert deviation(grads[name], grad) <= 5e-6, name


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_equals_gather_scan_scatter(backend: str) -> None:
    size = Size(2, 4, 30, 6, 3)
    problem = cross_problem(size)
    order = problem["order"]
    expected = torch.zeros_like(problem["x"])
    for k in range(size.directions):
        row = order[k]
        y = selective_scan(
            problem["x"][:, row].transpose(1, 2),
            problem["delta"][:, k, row].transpose(1, 2),
            problem["A"][k],
            problem["B"][:, k, row].transpose(1, 2),
            problem["C"][:, k, row].transpose(1, 2),
            problem["D"][k],
            delta_bias=problem["delta_bias"][k],
            delta_softplus=True,
            backend=backend,
        )
        expected[:, row] += y.transpose(1, 2)
    found = cross_selective_scan(**problem, backend=backend)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_sum_equals_separate_directions_added_up() -> None:
    problem = cross_problem(Size(2, 5, 24, 4, 2))
    merged = cross_selective_scan(**problem)
    apart = cross_selective_scan(**problem, merge=None)
    assert apart.shape == (2, 5, 24, 4)
    torch.testing.assert_close(merged, apart.sum(1), rtol=0, atol=1e-12)


def test_identity_order_equals_none() -> None:
    problem = cross_problem(Size(1, 3, 17, 4, 2))
    problem["order"] = torch.arange(17).expand(3, 17)
    expected = cross_selective_scan(**problem)
    problem["order"] = None
    torch.testing.assert_close(cross_selective_scan(**problem), expected, rtol=0, atol=1e-12)


def test_reversed_order_sees_the_future_only() -> None:
    problem = cross_problem(Size(1, 1, 12, 3, 2), skip=False)
    problem["order"] = torch.arange(12).flip(0)[None]
    before = cross_selective_scan(**problem)
    problem["x"] = problem["x"].clone()
    problem["x"][:, 5] += 1
    changed = (cross_selective_scan(**problem) != before).any(-1)[0]
    assert changed[:6].all()
    assert not changed[6:].any()


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_integer_types_of_the_order(dtype: torch.dtype) -> None:
    problem = cross_problem(Size(1, 2, 10, 3, 2))
    expected = cross_selective_scan(**problem)
    problem["order"] = problem["order"].to(dtype)
    assert torch.equal(cross_selective_scan(**problem), expected)


def test_without_softplus_skip_and_bias() -> None:
    problem = cross_problem(Size(1, 2, 15, 4, 3), skip=False)
    problem["delta"] = problem["delta"].exp()
    expected, expected_grads = solve(problem, delta_softplus=False, backend="reference")
    found, grads = solve(problem, torch.float32, delta_softplus=False, backend="torch")
    assert deviation(found, expected) <= 1e-6
    assert grads.keys() == {"x", "delta", "A", "B", "C"}
    for name, grad in grads.items():
        assert deviation(grad, expected_grads[name]) <= 5e-6, name


def test_gradcheck() -> None:
    problem = cross_problem(Size(1, 2, 7, 3, 2))
    order = problem.pop("order")
    names, tensors = zip(*leaves(problem, torch.float64).items(), strict=True)

    def scan(*values: torch.Tensor) -> torch.Tensor:
        return cross_selective_scan(**dict(zip(names, values, strict=True)), order=order, backend="torch")

    assert torch.autograd.gradcheck(scan, tensors, fast_mode=True)


def test_small_problems_keep_states_and_large_ones_do_not() -> None:
    small = torch.empty(1, 8, 216, 128, device="meta")
    assert torch_scan.saved_shape(small, 16) == (216, 1, 8, 16, 128)
    large = torch.empty(1, 8, 1728, 1024, device="meta")
    assert torch_scan.saved_shape(large, 64)[0] <= 1728 // torch_scan.MIN_CHUNK


@pytest.mark.parametrize("device", ["cpu", "meta"], ids=["processor", "accelerator"])
@pytest.mark.parametrize("shape", [(16, 8, 1728, 1024), (5, 3, 4096, 192), (3, 1, 100_000, 96)], ids=str)
def test_blocks_hold_every_sequence_once_and_stay_small(shape: tuple[int, int, int, int], device: str) -> None:
    delta, states = torch.empty(1, device=device).expand(shape), 64
    plan = torch_scan.plan_scan(delta, states)
    assert not plan.keep_all
    seen = torch.zeros(shape[:2])
    for block in torch_scan.plan_blocks(delta, states, plan):
        seen[block] += 1
        assert seen[block].numel() * plan.chunk * shape[3] * states <= torch_scan.MAX_ARRAY_ELEMENTS
    assert (seen == 1).all()


def test_bfloat16_under_autocast_keeps_its_type() -> None:
    problem = {
        name: tensor if name == "order" else tensor.float()
        for name, tensor in cross_problem(Size(1, 3, 20, 8, 4)).items()
    }
    expected = cross_selective_scan(**problem)
    for name in ("x", "delta", "B", "C"):
        problem[name] = problem[name].bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = cross_selective_scan(**problem)
    assert found.dtype == torch.bfloat16
    assert deviation(found, expected) <= 2e-2


@pytest.mark.parametrize(
    ("name", "shape"),
    [("x", (1, 9, 5)), ("A", (2, 4, 2)), ("B", (1, 3, 8, 2)), ("D", (4,)), ("order", (2, 9)), ("delta_bias", (3, 5))],
)
def test_wrong_shapes_are_named(name: str, shape: tuple[int, ...]) -> None:
    problem = cross_problem(Size(1, 3, 9, 4, 2))
    problem[name] = torch.zeros(shape, dtype=problem[name].dtype)
    with pytest.raises(InputError, match=rf"^{name} has shape "):
        cross_selective_scan(**problem)


def test_unknown_merge_is_refused() -> None:
    with pytest.raises(InputError, match="'mean'"):
        cross_selective_scan(**cross_problem(Size(1, 1, 3, 1, 1)), merge="mean")
