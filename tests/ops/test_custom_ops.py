"""The operators under torch.library's own checks, torch.compile, torch.export and checkpointing."""

from __future__ import annotations

import pytest
import torch
from scan_problems import Size, cross_problem, leaves, single_problem
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from monai_mamba.ops import cross_selective_scan, scan_backend, selective_scan
from monai_mamba.ops.custom_ops import scan_backward, scan_forward

SIZE = Size(2, 3, 9, 4, 3)


def operator_inputs(gradients: bool) -> tuple[list[Tensor], Tensor]:
    problem = cross_problem(SIZE)
    names = ("x", "delta", "A", "B", "C", "delta_bias")
    tensors = [problem[name].float() for name in names]
    tensors[0] = tensors[0].unsqueeze(1)
    return [tensor.requires_grad_(gradients) for tensor in tensors], problem["order"]


@pytest.mark.parametrize("save", [True, False])
@pytest.mark.parametrize("plain", [True, False], ids=["no bias, no order, apart", "bias, order, merged"])
def test_opcheck_forward(plain: bool, save: bool) -> None:
    tensors, order = operator_inputs(gradients=True)
    arguments = (*tensors[:5], None, None, True, False) if plain else (*tensors, order, True, True)
    torch.library.opcheck(scan_forward, (*arguments, save, "torch"))


@pytest.mark.parametrize("with_state", [True, False])
def test_opcheck_backward(with_state: bool) -> None:
    tensors, order = operator_inputs(gradients=False)
    y, last_state, saved = scan_forward(*tensors, order, True, True, True, "torch")
    grad_state = torch.ones_like(last_state) if with_state else None
    torch.library.opcheck(scan_backward, (torch.ones_like(y), grad_state, saved, *tensors, order, True, True, "torch"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiles_as_one_graph_with_gradients(dtype: torch.dtype) -> None:
    problem = cross_problem(SIZE)
    eager, compiled = leaves(problem, dtype), leaves(problem, dtype)
    scan = torch.compile(cross_selective_scan, fullgraph=True, backend="aot_eager")
    expected, found = cross_selective_scan(**eager), scan(**compiled)
    assert torch.equal(found, expected)
    expected.sum().backward()
    found.sum().backward()
    for name, tensor in eager.items():
        if tensor.grad is not None:
            assert torch.equal(compiled[name].grad, tensor.grad), name


def test_compiles_within_a_backend_context() -> None:
    problem = {name: tensor.float() for name, tensor in single_problem(1, 1, 4, 6, 2).items()}
    scan = torch.compile(selective_scan, fullgraph=True, backend="eager")
    with scan_backend("torch"):
        found = scan(**problem)
    assert torch.equal(found, selective_scan(**problem))


class Scan(nn.Module):
    def forward(self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, backend: str) -> Tensor:
        return selective_scan(u, delta, A, B, C, delta_softplus=True, backend=backend)


def scan_inputs(length: int, backend: str) -> tuple[Tensor | str, ...]:
    problem = single_problem(1, 1, 4, length, 3, seed=length)
    return (*(problem[name].float() for name in ("u", "delta", "A", "B", "C")), backend)


@pytest.mark.parametrize(("backend", "count"), [("auto", 0), ("native", 0), ("torch", 1)])
def test_exports_with_any_length_and_the_operator_on_request_only(backend: str, count: int) -> None:
    length = torch.export.Dim("length", min=2)
    shapes = ({2: length}, {2: length}, None, {3: length}, {3: length}, None)
    program = torch.export.export(Scan(), scan_inputs(20, backend), dynamic_shapes=shapes)
    nodes = [node for node in program.graph.nodes if "monai_mamba" in str(node.target)]
    assert len(nodes) == count
    inputs = scan_inputs(33, backend)
    torch.testing.assert_close(program.module()(*inputs), Scan()(*inputs[:5], "torch"), rtol=0, atol=1e-6)


def test_activation_checkpointing_gives_the_same_gradients() -> None:
    problem = cross_problem(SIZE)
    plain, saving = leaves(problem, torch.float32), leaves(problem, torch.float32)
    cross_selective_scan(**plain).sum().backward()
    checkpoint(lambda: cross_selective_scan(**saving), use_reentrant=False).sum().backward()
    for name, tensor in plain.items():
        if tensor.grad is not None:
            assert torch.equal(saving[name].grad, tensor.grad), name


def test_only_wanted_states_are_kept() -> None:
    tensors, order = operator_inputs(gradients=False)
    assert scan_forward(*tensors, order, True, True, False, "torch")[2].numel() == 0
    kept = scan_forward(*tensors, order, True, True, True, "torch")[2]
    assert kept.shape == (SIZE.length, SIZE.batch, SIZE.directions, SIZE.states, SIZE.channels)
