"""The CUDA kernel of mamba-ssm, used where it is installed and works.

The kernel lives in the extension module ``selective_scan_cuda``. That module, not the package ``mamba_ssm``, is what
counts: the package can be installed without it. It is imported when a CUDA tensor first needs it, never before.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from types import ModuleType

import torch
from torch import Tensor

from . import self_check
from .problem import Gradients, ResultGradients, Results, ScanInputs
from .recording import are_fake
from .scan_order import ScanOrder

DEVICE_TYPE = "cuda"
MODULE = "selective_scan_cuda"
MAX_STATES = 256
TOKENS_PER_CHUNK = 2048  # the kernel keeps one state per so many tokens
REMEDY = (
    "Build it for this version of PyTorch and CUDA: "
    "MAMBA_KEEP_CUDA_BUILD=TRUE pip install --force-reinstall --no-deps --no-build-isolation mamba-ssm"
)


def kernel() -> ModuleType:
    """Import the extension module; whatever a broken build raises is the caller's to handle."""
    return importlib.import_module(MODULE)


def obstacle(device: torch.device, dtype: torch.dtype, states: int) -> str:
    """Say why the kernel cannot be used on a device; empty if it can, for every scan within its limits."""
    if are_fake():
        return f"{MODULE} of mamba-ssm cannot be tested while tensors have no data (fake or meta tensors)"
    return probe(device)


@functools.cache
def probe(device: torch.device) -> str:
    """Import the kernel and run a tiny scan on a device; the result as in `obstacle`."""
    try:
        kernel()
    except ModuleNotFoundError as error:
        if error.name != MODULE:
            return f"{MODULE} of mamba-ssm does not import ({error}). {REMEDY}"
        if importlib.util.find_spec("mamba_ssm") is None:
            return "mamba-ssm is not installed. Install it for speed: pip install monai-mamba[cuda]"
        return f"mamba-ssm is installed without its CUDA kernel {MODULE}. {REMEDY}"
    except Exception as error:  # a broken build may raise anything: ImportError, OSError, RuntimeError ...
        return f"{MODULE} of mamba-ssm does not import ({type(error).__name__}: {error}). {REMEDY}"
    try:
        scan = self_check.waves(device, torch.float32, (1, 2, 70, 37, 13))
        error = self_check.largest_error(forward, backward, [(scan, False)])
    except Exception as failure:
        return f"{MODULE} of mamba-ssm does not run here ({type(failure).__name__}: {failure}). {REMEDY}"
    if not error <= self_check.TOLERANCE:
        return f"{MODULE} of mamba-ssm computes wrong values here (error {error:.1g}). {REMEDY}"
    return ""


def saved_shape(delta: Tensor, states: int) -> tuple[int, ...]:
    """Shape of what the kernel keeps for its backward: products of the decay and states, interleaved."""
    batch, directions, length, channels = delta.shape
    return (batch, directions * channels, -(-length // TOKENS_PER_CHUNK), 2 * states)


class Packing:
    """Between this package's channels-last volumes and the kernel's channels-first sequences, always float32."""

    def __init__(self, inputs: ScanInputs) -> None:
        self.inputs = inputs
        self.batch, self.directions, self.length, _ = inputs.delta.shape
        self.path = ScanOrder(inputs)

    def sequences(self, volume: Tensor) -> Tensor:
        """(B, K, F, L), in scan order, of a volume (B, K or 1, L, F)."""
        if self.path.order is None:  # stays a view where the caller's tensor was channels first
            return volume.expand(-1, self.directions, -1, -1).transpose(2, 3).float().contiguous()
        return self.path.read(volume, 0, self.length).permute(1, 2, 3, 0).contiguous()

    def rows(self, sequences: Tensor) -> Tensor:
        """(L, B, K, F) of sequences (B, K * F, L) or (B, K, F, L)."""
        return sequences.view(self.batch, self.directions, -1, self.length).permute(3, 0, 1, 2).contiguous()

    def arguments(self) -> tuple[Tensor | None, ...]:
        """The kernel's u, delta, A, B, C, D, z and delta_bias."""
        u, delta, A, B, C, bias = self.inputs.tensors
        bias = None if bias is None else bias.float().flatten().contiguous()
        wide = (self.sequences(volume).flatten(1, 2) for volume in (u, delta))
        return (*wide, A.float().flatten(0, 1).contiguous(), self.sequences(B), self.sequences(C), None, None, bias)


def forward(inputs: ScanInputs, save: bool) -> Results:
    """Forward of the scan, as in `problem`."""
    packing = Packing(inputs)
    y, saved = kernel().fwd(*packing.arguments(), inputs.delta_softplus)[:2]
    last_state = saved[:, :, -1, 1::2].reshape(inputs.state_shape).clone()
    rows = packing.rows(y)
    y = packing.path.write_sum(rows) if inputs.merge else packing.path.write(rows)
    return y, last_state, saved if save else saved.new_empty(0)


def backward(grads: ResultGradients, saved: Tensor, inputs: ScanInputs) -> Gradients:
    """Backward of the scan, as in `problem`, without a gradient of the last state."""
    grad_y, grad_last_state = grads
    if grad_last_state is not None:
        raise NotImplementedError("the kernel of mamba-ssm has no gradient of the last state: use backend='torch'")
    packing = Packing(inputs)
    path = packing.path
    grad = packing.sequences(grad_y.unsqueeze(1) if inputs.merge else grad_y).flatten(1, 2)
    found = kernel().bwd(*packing.arguments(), grad, saved, None, None, inputs.delta_softplus, False)
    rows_u, rows_delta, rows_b, rows_c = (packing.rows(found[i]) for i in (0, 1, 3, 4))
    return inputs.gradients(
        path.write(rows_u) if inputs.u.shape[1] == packing.directions else path.write_sum(rows_u).unsqueeze(1),
        path.write(rows_delta),
        found[2].view_as(inputs.A),
        path.write(rows_b),
        path.write(rows_c),
        None if inputs.delta_bias is None else found[6].view_as(inputs.delta_bias),
    )
