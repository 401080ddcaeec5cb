"""Ways to read a volume voxel by voxel: index tables that a cross scan reads and writes through.

Every function returns integer tables ``order`` of shape ``(K, L)`` with ``L = H * W * D``: step ``t`` of sequence ``k``
visits the voxel with flat number ``order[k, t]``, where the last axis of ``spatial_size`` runs fastest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch

from monai_mamba.ops.recording import arange_beside, are_fake, is_recording

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
    spatial_size: Sequence[int], axes: Sequence[int], corner: Sequence[int], beside: torch.Tensor
) -> torch.Tensor:
    """One serpentine (boustrophedon) walk through a box, int64 ``(L,)``; consecutive voxels always share a face.

    Args:
        spatial_size: voxels ``(H, W, D)``.
        axes: the ``(fast, middle, slow)`` axis.
        corner: start corner, for each axis 0 (low end) or 1 (high end).
        beside: a tensor on the device where the table is used.
    """
    n_fast, n_middle, n_slow = (spatial_size[axis] for axis in axes)
    slow = arange_beside(beside, n_slow).reshape(-1, 1, 1)
    middle = arange_beside(beside, n_middle).reshape(-1, 1)
    middle = torch.where(slow % 2 == 1, n_middle - 1 - middle, middle)
    fast = arange_beside(beside, n_fast)
    fast = torch.where((slow + middle) % 2 == 1, n_fast - 1 - fast, fast)
    order: torch.Tensor | int = 0
    position = dict(zip(axes, (fast, middle, slow), strict=True))
    for axis in range(3):
        along = spatial_size[axis] - 1 - position[axis] if corner[axis] else position[axis]
        order = order * spatial_size[axis] + along
    return order.flatten()


def _table(
    build: Callable[..., torch.Tensor], spatial_size: Sequence[int], beside: torch.Tensor, option: int
) -> torch.Tensor:
    """Table from the cache, in a form that any later call can use."""
    if is_recording():  # operations on sizes that may differ when they run
        return build(tuple(spatial_size), beside, option)
    size = tuple(int(n) for n in spatial_size)
    if torch.compiler.is_compiling() or are_fake():  # a tracer's tensors must not stay in the cache
        return build(size, beside, option)
    return _cached_table(build, size, beside.device, option)


@lru_cache(maxsize=192)
def _cached_table(
    build: Callable[..., torch.Tensor], spatial_size: tuple[int, ...], device: torch.device, option: int
) -> torch.Tensor:
    with torch.inference_mode(False):  # a table that inference built must serve training as well
        return build(spatial_size, torch.empty(0, device=device), option)


def _serpentine_orders(spatial_size: tuple[int, ...], beside: torch.Tensor, orientation: int) -> torch.Tensor:
    axes = _AXES[orientation]
    walks = [serpentine_order(spatial_size, axes[k % 2], _CORNERS[k], beside) for k in range(4)]
    forward = torch.stack(walks)
    return torch.cat([forward, forward.flip(1)])


def serpentine_orders(spatial_size: Sequence[int], orientation: int, beside: torch.Tensor) -> torch.Tensor:
    """The eight serpentine walks of one MedSegMamba orientation (0 to 5), for any box: int64 ``(8, L)``.

    Four walks start at corners 000, 011, 101 and 110 (H, W, D), the other four are the same walks backwards. The six
    orientations together give all 48 combinations of axis order and start corner where the three sizes are all even or
    all odd; otherwise some backward walks coincide with forward ones of another orientation and 40 remain. Tables are
    cached for the device of `beside`. Source: MedSegMamba, arXiv 2409.08307, section 2.2 and figure 2.

    Raises:
        ValueError: for an orientation outside 0 to 5.
    """
    if not 0 <= orientation < len(_AXES):
        raise ValueError(f"orientation must be 0 to {len(_AXES) - 1}, got {orientation}.")
    return _table(_serpentine_orders, spatial_size, beside, orientation)


def _raster_orders(spatial_size: tuple[int, ...], beside: torch.Tensor, num_slices: int) -> torch.Tensor:
    forward = arange_beside(beside, math.prod(spatial_size))
    return torch.stack([forward, forward.flip(0), forward.reshape(num_slices, -1).t().flatten()])


def tri_oriented_orders(
    spatial_size: Sequence[int], beside: torch.Tensor, num_slices: int | None = None
) -> torch.Tensor:
    """Raster order, its reverse, and the inter-slice order, first tokens of all slices first: int64 ``(3, L)``.

    The inverse permutations are the orders for ``L // num_slices`` slices. Tables are cached for the device of
    `beside`. Source: SegMamba, arXiv 2401.13560 (tri-orientated Mamba).

    Args:
        spatial_size: voxels ``(H, W, D)``.
        beside: a tensor on the device where the table is used.
        num_slices: number of equal runs that the sequence is cut into; None takes the slices of the first axis, which
            makes that axis the fastest.

    Raises:
        ValueError: if ``num_slices`` does not divide the number of voxels.
    """
    num_slices = num_slices or spatial_size[0]
    if not is_recording() and math.prod(spatial_size) % num_slices:
        raise ValueError(
            f"num_slices={num_slices} does not divide the {math.prod(spatial_size)} voxels of a {tuple(spatial_size)} "
            "grid."
        )
    return _table(_raster_orders, spatial_size, beside, num_slices)
