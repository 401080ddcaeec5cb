"""A stand-in for the extension module of mamba-ssm: its interface on the CPU, its values from plain PyTorch."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from monai_mamba.ops import mamba_ssm, torch_scan
from monai_mamba.ops.problem import ScanInputs


class FakeKernel(ModuleType):
    """``selective_scan_cuda``, strict about what it is given, with call counts."""

    def __init__(self) -> None:
        super().__init__("selective_scan_cuda")
        self.forwards = self.backwards = 0

    def fwd(self, u, delta, A, B, C, D, z, bias, softplus):
        self.forwards += 1
        y, state, _ = torch_scan.forward(_volumes(u, delta, A, B, C, D, z, bias, softplus), False)
        kept = torch.zeros(*u.shape[:2], -(-u.shape[2] // 2048), 2 * A.shape[1])
        kept[:, :, -1, 1::2] = state.flatten(1, 2)
        return [_sequences(y), kept]

    def bwd(self, u, delta, A, B, C, D, z, bias, grad, kept, out, grad_z, softplus, recompute):
        self.backwards += 1
        assert kept.shape == (*u.shape[:2], 1, 2 * A.shape[1])
        assert kept.is_contiguous()
        assert (out, grad_z, recompute) == (None, None, False)
        inputs = _volumes(u, delta, A, B, C, D, z, bias, softplus)
        saved = torch_scan.forward(inputs, True)[2]
        grad = grad.unflatten(1, inputs.delta.shape[1::2]).transpose(2, 3)
        grads = torch_scan.backward((grad, None), saved, inputs)
        grad_b, grad_c = (tensor.transpose(2, 3) for tensor in grads[3:5])
        grad_bias = None if bias is None else grads[5].flatten()
        return [_sequences(grads[0]), _sequences(grads[1]), grads[2].flatten(0, 1), grad_b, grad_c, None, grad_bias]


def _sequences(volume: Tensor) -> Tensor:
    return volume.transpose(2, 3).flatten(1, 2).contiguous()


def _volumes(u, delta, A, B, C, D, z, bias, softplus) -> ScanInputs:
    batch, wide, length = u.shape
    groups = B.shape[1]
    assert delta.shape == u.shape
    assert A.shape[0] == wide
    assert B.shape == C.shape == (batch, groups, A.shape[1], length)
    assert all(tensor.dtype == torch.float32 for tensor in (u, delta, A, B, C))
    assert all(tensor.stride(-1) == 1 or tensor.shape[-1] == 1 for tensor in (u, delta, B, C))
    assert (D, z) == (None, None)
    u, delta = (tensor.unflatten(1, (groups, -1)).transpose(2, 3) for tensor in (u, delta))
    bias = None if bias is None else bias.unflatten(0, (groups, -1))
    A, B, C = A.unflatten(0, (groups, -1)), B.transpose(2, 3), C.transpose(2, 3)
    return ScanInputs(u, delta, A, B, C, bias, None, softplus, merge=False)


def raising(error: Exception) -> ModuleType:
    """A module in the kernel's place that cannot be used."""

    class Broken(ModuleType):
        @property
        def fwd(self) -> None:
            raise error

    return Broken(mamba_ssm.MODULE)
