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

from .recording import are_fake
from .reference import reference_scan
from .traversal import Traversal

DEVICE_TYPE = "cuda"
MODULE = "selective_scan_cuda"
MAX_STATES = 256
TOKENS_PER_CHUNK = 2048  # the kernel keeps one state per so many tokens
SELF_CHECK_TOLERANCE = 1e-4
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
        return f"{MODULE} of mamba-ssm cannot be tried while tensors hold no numbers"
    return probe(device)


@functools.cache
def probe(device: torch.device) -> str:
    """Import the kernel and run a tiny scan on a device; the result as in `obstacle`."""
    try:
        module = kernel()
    except ModuleNotFoundError as error:
        if error.name != MODULE:
            return f"{MODULE} of mamba-ssm does not import ({error}). {REMEDY}"
        if importlib.util.find_spec("mamba_ssm") is None:
            return "mamba-ssm is not installed. Install it for speed: pip install monai-mamba[cuda]"
        return f"mamba-ssm is installed without its CUDA kernel {MODULE}. {REMEDY}"
    except Exception as error:  # a broken build may raise anything: ImportError, OSError, RuntimeError ...
        return f"{MODULE} of mamba-ssm does not import ({type(error).__name__}: {error}). {REMEDY}"
    try:
        error = _self_check(module, device)
    except Exception as failure:
        return f"{MODULE} of mamba-ssm does not run here ({type(failure).__name__}: {failure}). {REMEDY}"
    if not error <= SELF_CHECK_TOLERANCE:
        return f"{MODULE} of mamba-ssm computes wrong values here (error {error:.1g}). {REMEDY}"
    return ""


def _self_check(module: ModuleType, device: torch.device) -> float:
    """Largest absolute difference between kernel and reference on a scan of eight tokens with known values."""
    with torch.no_grad():
        ramp = torch.linspace(-1, 1, 16, device=device).view(1, 2, 8)
        A = -torch.ones(2, 4, device=device)
        BC = torch.linspace(1, -1, 32, device=device).view(1, 1, 4, 8)
        y = module.fwd(ramp, ramp, A, BC, BC, None, None, None, True)[0]
        rows, tokens = ramp[:, None].transpose(2, 3), BC.transpose(2, 3)
        expected, _ = reference_scan(rows, rows, A[None], tokens, tokens, None, None, True, True)
        return float((y.transpose(1, 2) - expected).abs().max())


def saved_shape(delta: Tensor, states: int) -> tuple[int, ...]:
    """Shape of what the kernel keeps for its backward: products of the decay and states, interleaved."""
    batch, directions, length, channels = delta.shape
    return (batch, directions * channels, -(-length // TOKENS_PER_CHUNK), 2 * states)


class Packing:
    """Between this package's channels-last volumes and the kernel's channels-first sequences, always float32."""

    def __init__(self, delta: Tensor, order: Tensor | None) -> None:
        self.batch, self.directions, self.length, self.channels = delta.shape
        self.path = Traversal(order, self.batch, self.directions, self.length, torch.float32)

    def sequences(self, volume: Tensor) -> Tensor:
        """(B, K, F, L), in scan order, of a volume (B, K or 1, L, F)."""
        if self.path.order is None:  # stays a view where the caller's tensor was channels first
            return volume.expand(-1, self.directions, -1, -1).transpose(2, 3).float().contiguous()
        return self.path.read(volume, 0, self.length).permute(1, 2, 3, 0).contiguous()

    def rows(self, sequences: Tensor) -> Tensor:
        """(L, B, K, F) of sequences (B, K * F, L) or (B, K, F, L)."""
        return sequences.view(self.batch, self.directions, -1, self.length).permute(3, 0, 1, 2).contiguous()

    def arguments(
        self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, delta_bias: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """The kernel's u, delta, A, B, C, D, z and delta_bias."""
        bias = None if delta_bias is None else delta_bias.float().flatten().contiguous()
        wide = (self.sequences(volume).flatten(1, 2) for volume in (u, delta))
        return (*wide, A.float().flatten(0, 1).contiguous(), self.sequences(B), self.sequences(C), None, None, bias)


def forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    delta_bias: Tensor | None,
    order: Tensor | None,
    delta_softplus: bool,
    merge: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Forward of the scan; arguments and results as in `torch_scan.forward`."""
    packing = Packing(delta, order)
    y, saved = kernel().fwd(*packing.arguments(u, delta, A, B, C, delta_bias), delta_softplus)[:2]
    last_state = saved[:, :, -1, 1::2].reshape(*delta.shape[:2], *A.shape[1:]).clone()
    rows = packing.rows(y)
    y = packing.path.write_sum(rows) if merge else packing.path.write(rows)
    return y, last_state, saved if save else saved.new_empty(0)


def backward(
    grad_y: Tensor,
    grad_last_state: Tensor | None,
    saved: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    delta_bias: Tensor | None,
    order: Tensor | None,
    delta_softplus: bool,
    merge: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Backward of the scan; arguments and results as in `torch_scan.backward`, without a gradient of the last state."""
    if grad_last_state is not None:
        raise NotImplementedError("the kernel of mamba-ssm has no gradient of the last state: use backend='torch'")
    packing = Packing(delta, order)
    path = packing.path
    arguments = packing.arguments(u, delta, A, B, C, delta_bias)
    grad = packing.sequences(grad_y.unsqueeze(1) if merge else grad_y).flatten(1, 2)
    grads = kernel().bwd(*arguments, grad, saved, None, None, delta_softplus, False)
    rows_u, rows_delta, rows_b, rows_c = (packing.rows(grads[i]) for i in (0, 1, 3, 4))
    grad_u = path.write(rows_u) if u.shape[1] == packing.directions else path.write_sum(rows_u).unsqueeze(1)
    grad_bias = A.new_zeros(A.shape[:2], dtype=torch.float32)
    return (
        grad_u.to(u.dtype),
        path.write(rows_delta).to(delta.dtype),
        grads[2].view_as(A).to(A.dtype),
        path.write(rows_b).to(B.dtype),
        path.write(rows_c).to(C.dtype),
        grad_bias if delta_bias is None else grads[6].view_as(delta_bias).to(delta_bias.dtype),
    )
