"""Small scans that a compiled implementation has to compute right before it is trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from . import torch_scan
from .problem import Gradients, Results, ScanInputs

TOLERANCE = 1e-4  # relative to the largest value


def largest_error(
    forward: Callable[..., Results], backward: Callable[..., Gradients], scans: Iterable[tuple[ScanInputs, bool]]
) -> float:
    """Largest difference between an implementation and float64 in plain PyTorch, relative to the largest value.

    It is taken over all results and gradients, and not a number where one of them is not finite.

    Args:
        forward, backward: the functions of the implementation, see `problem`.
        scans: scans, and whether a gradient of the last state counts.
    """
    errors = []
    for inputs, state_gradient in scans:
        results = []
        exact = (torch_scan.forward, torch_scan.backward, inputs.to(torch.float64))
        with torch.no_grad(), torch.autocast(inputs.u.device.type, enabled=False):
            for run, derive, mine in (exact, (forward, backward, inputs)):
                y, last_state, saved = run(mine, True)
                grads = derive((y, last_state if state_gradient else None), saved, mine)
                results.append((y, last_state, run(mine, False)[0], *grads))
        for right, found in zip(*results, strict=True):
            scale = right.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
            # what comes back in a short type is as good as that type
            slack = 2 * torch.finfo(found.dtype).eps
            errors.append(float((found.double() - right).abs().max() / scale) - slack)
    return max(errors) if all(map(math.isfinite, errors)) else math.nan


def _wave(device: torch.device, *shape: int) -> Tensor:
    return torch.arange(math.prod(shape), dtype=torch.float32, device=device).mul_(0.7).sin_().view(shape)


def _orders(device: torch.device, length: int, dtype: torch.dtype) -> Tensor:
    token = torch.arange(length, device=device, dtype=dtype)
    return torch.stack([token.flip(0), token.roll(7)])


def waves(
    device: torch.device, dtype: torch.dtype, size: tuple[int, int, int, int, int], plain: bool = False
) -> ScanInputs:
    """A scan of values that are not random.

    Args:
        device: where its tensors are.
        dtype: type of u, B and C.
        size: (B, K, L, E, N); K is 2 unless ``plain``.
        plain: in scan order, with an input for each direction, without bias, and not merged.
    """
    batch, directions, length, channels, states = size
    volume = _wave(device, batch, directions, length, channels)
    rows = _wave(device, batch, directions, length, states).to(dtype)
    return ScanInputs(
        u=((volume if plain else volume[:, :1]) + 0.5).to(dtype),
        delta=volume - 1,
        A=-(_wave(device, directions, channels, states) + 1.5),
        B=rows,
        C=rows.flip(2),
        delta_bias=None if plain else _wave(device, directions, channels),
        order=None if plain else _orders(device, length, torch.int32),
        delta_softplus=True,
        merge=not plain,
    )


def as_in_networks(device: torch.device, dtype: torch.dtype, states: int, length: int) -> ScanInputs:
    """A scan in the types and strides that `SS3D` has under autocast."""
    batch, directions, channels = 1, 2, 64
    rows = _wave(device, batch, length, directions, 2 * states).to(dtype).transpose(1, 2)  # parts of one projection
    return ScanInputs(
        u=_wave(device, batch, 1, channels, length).to(dtype).transpose(2, 3),  # channels first in memory
        delta=_wave(device, batch, directions, length, channels).to(dtype),
        A=-(_wave(device, directions, channels, states) + 1.5),
        B=rows[..., :states],
        C=rows[..., states:],
        delta_bias=_wave(device, directions, channels) - 1,
        order=_orders(device, length, torch.int64),
        delta_softplus=True,
        merge=True,
    )
