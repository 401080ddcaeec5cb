"""Ways to read a volume voxel by voxel: index tables that a cross scan reads and writes through.

Every function returns integer tables ``order`` of shape ``(K, L)`` with ``L = H * W * D``: step ``t`` of sequence ``k``
visits the voxel with flat number ``order[k, t]``, where the last axis of ``spatial_size`` runs fastest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch

from monai_mamba.ops.recording import are_fake, is_recording

__all__ = ["serpentine_order", "serpentine_orders", "tri_oriented_orders"]

Place = torch.device | str | torch.Tensor

# (fast, middle, slow) axis of sequences 0 and 2, then of sequences 1 and 3, for each of the six orientations
_AXES = (
    ((2, 1, 0), (0, 2, 1)),
    ((2, 0, 1), (0, 1, 2)),
    ((0, 1, 2), (1, 2, 0)),
    ((1, 2, 0), (2, 0, 1)),
    ((0, 2, 1), (1, 0, 2)),
    ((1, 0, 2), (2, 1, 0)),
)
_CORNERS = ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0))


def serpentine_order(
    spatial_size: Sequence[int], axes: Sequence[int], corner: Sequence[int], device: Place = "cpu"
) -> torch.Tensor:
    """One serpentine (boustrophedon) walk through a box; consecutive voxels always share a face.

    Args:
        spatial_size: voxels ``(H, W, D)``.
        axes: the ``(fast, middle, slow)`` axis.
        corner: start corner, for each axis 0 (low end) or 1 (high end).
        device: where the table lives, or a tensor that lives there.

    Returns:
        int64 tensor ``(L,)``, a permutation of ``0 .. L - 1``.
    """
    n_fast, n_middle, n_slow = (spatial_size[axis] for axis in axes)
    slow = _count(n_slow, device).reshape(-1, 1, 1)
    middle = _count(n_middle, device).reshape(-1, 1)
    middle = torch.where(slow % 2 == 1, n_middle - 1 - middle, middle)
    fast = _count(n_fast, device)
    fast = torch.where((slow + middle) % 2 == 1, n_fast - 1 - fast, fast)
    order: torch.Tensor | int = 0
    position = dict(zip(axes, (fast, middle, slow), strict=True))
    for axis in range(3):
        along = spatial_size[axis] - 1 - position[axis] if corner[axis] else position[axis]
        order = order * spatial_size[axis] + along
    return order.flatten()


def _count(stop: int, device: Place) -> torch.Tensor:
    """0 .. stop - 1. Beside a tensor, where a recorder watches, the device is not written down but that tensor's."""
    if isinstance(device, torch.Tensor):
        return device.new_ones(stop, dtype=torch.long).cumsum(0) - 1
    return torch.arange(stop, device=device)


def _table(
    build: Callable[..., torch.Tensor], spatial_size: Sequence[int], device: Place, *options: Any
) -> torch.Tensor:
    """Table from the cache of ``build``, in a form that any later call can use."""
    if is_recording():  # operations on sizes that may differ when they run
        return build.__wrapped__(tuple(spatial_size), device, *options)
    size = tuple(int(n) for n in spatial_size)
    device = device.device if isinstance(device, torch.Tensor) else torch.device(device)
    if torch.compiler.is_compiling() or are_fake():  # a tracer's tensors must not stay in the cache
        return build.__wrapped__(size, device, *options)
    with torch.inference_mode(False):  # a table that inference built must serve training as well
        return build(size, device, *options)


@lru_cache(maxsize=128)
def _serpentine_orders(spatial_size: tuple[int, ...], device: Place, orientation: int) -> torch.Tensor:
    axes = _AXES[orientation]
    walks = [serpentine_order(spatial_size, axes[k % 2], _CORNERS[k], device) for k in range(4)]
    forward = torch.stack(walks)
    return torch.cat([forward, forward.flip(1)])


def serpentine_orders(spatial_size: Sequence[int], orientation: int, device: Place = "cpu") -> torch.Tensor:
    """The eight serpentine walks of one MedSegMamba orientation, for any box.

    Four walks start at corners 000, 011, 101 and 110 (H, W, D), the other four are the same walks backwards. The six
    orientations together give all 48 combinations of axis order and start corner where the three sizes are all even
    or all odd; otherwise some backward walks coincide with forward ones of another orientation and 40 remain. Source:
    MedSegMamba, arXiv 2409.08307, section 2.2 and figure 2.

    Args:
        spatial_size: voxels ``(H, W, D)``.
        orientation: 0 to 5.
        device: where the table lives, or a tensor that lives there; tables are cached.

    Returns:
        int64 tensor ``(8, L)``.

    Raises:
        ValueError: for an orientation outside 0 to 5.
    """
    if not 0 <= orientation < len(_AXES):
        raise ValueError(f"orientation must be 0 to {len(_AXES) - 1}, got {orientation}.")
    return _table(_serpentine_orders, spatial_size, device, orientation)


@lru_cache(maxsize=64)
def _raster_orders(spatial_size: tuple[int, ...], device: Place, num_slices: int) -> torch.Tensor:
    forward = _count(math.prod(spatial_size), device)
    return torch.stack([forward, forward.flip(0), forward.reshape(num_slices, -1).t().flatten()])


def tri_oriented_orders(
    spatial_size: Sequence[int], device: Place = "cpu", num_slices: int | None = None
) -> torch.Tensor:
    """Raster order, its reverse, and the inter-slice order: first tokens of all slices, then second tokens, and so on.

    The inverse permutations are the orders for ``L // num_slices`` slices. Source: SegMamba, arXiv 2401.13560
    (tri-orientated Mamba).

    Args:
        spatial_size: voxels ``(H, W, D)``.
        device: where the table lives, or a tensor that lives there; tables are cached.
        num_slices: number of equal runs that the sequence is cut into; None takes the slices of the first axis, which
            makes that axis the fastest.

    Returns:
        int64 tensor ``(3, L)``.

    Raises:
        ValueError: if ``num_slices`` does not divide the number of voxels.
    """
    num_slices = num_slices or spatial_size[0]
    if not is_recording() and math.prod(spatial_size) % num_slices:
        raise ValueError(
            f"num_slices={num_slices} does not divide the {math.prod(spatial_size)} voxels of a {tuple(spatial_size)} "
            "grid."
        )
    return _table(_raster_orders, spatial_size, device, num_slices)
