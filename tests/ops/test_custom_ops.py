"""The operators under torch.library's own checks, torch.compile, torch.export and checkpointing."""

from __future__ import annotations

import pytest
import torch
from scan_problems import Size, cross_problem, leaves, scan_inputs, single_problem
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from monai_mamba.ops import cross_selective_scan, scan_backend, selective_scan
from monai_mamba.ops.custom_ops import scan_backward, scan_forward
from monai_mamba.ops.problem import ScanInputs

SIZE = Size(2, 3, 9, 4, 3)


def operator_inputs() -> ScanInputs:
    return scan_inputs(cross_problem(SIZE)).to(torch.float32)


@pytest.mark.parametrize("save", [True, False])
@pytest.mark.parametrize("plain", [True, False], ids=["no bias, no order, apart", "bias, order, merged"])
def test_opcheck_forward(plain: bool, save: bool) -> None:
    inputs = operator_inputs()
    if plain:
        inputs = inputs._replace(delta_bias=None, order=None, merge=False)
    for tensor in inputs.tensors:
        if tensor is not None:
            tensor.requires_grad_()
    torch.library.opcheck(scan_forward, (*inputs, save, "torch"))


@pytest.mark.parametrize("with_state", [True, False])
def test_opcheck_backward(with_state: bool) -> None:
    inputs = operator_inputs()
    y, last_state, saved = scan_forward(*inputs, True, "torch")
    grad_state = torch.ones_like(last_state) if with_state else None
    torch.library.opcheck(scan_backward, (torch.ones_like(y), grad_state, saved, *inputs, "torch"))


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


def sequences(length: int, backend: str) -> tuple[Tensor | str, ...]:
    problem = single_problem(1, 1, 4, length, 3, seed=length)
    return (*(problem[name].float() for name in ("u", "delta", "A", "B", "C")), backend)


@pytest.mark.parametrize(("backend", "count"), [("auto", 0), ("native", 0), ("torch", 1)])
def test_exports_with_any_length_and_the_operator_on_request_only(backend: str, count: int) -> None:
    length = torch.export.Dim("length", min=2)
    shapes = ({2: length}, {2: length}, None, {3: length}, {3: length}, None)
    program = torch.export.export(Scan(), sequences(20, backend), dynamic_shapes=shapes)
    nodes = [node for node in program.graph.nodes if "monai_mamba" in str(node.target)]
    assert len(nodes) == count
    inputs = sequences(33, backend)
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
    inputs = operator_inputs()
    assert scan_forward(*inputs, False, "torch")[2].numel() == 0
    kept = scan_forward(*inputs, True, "torch")[2]
    assert kept.shape == (SIZE.length, SIZE.batch, SIZE.directions, SIZE.states, SIZE.channels)
