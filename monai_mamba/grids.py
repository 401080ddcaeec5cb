"""Linear resampling between voxel grids that are given by affines."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.ndimage import affine_transform

Box = tuple[slice, slice, slice]


def map_box(matrix: np.ndarray, low: np.ndarray, high: np.ndarray, shape: tuple[int, ...]) -> Box | None:
    """Voxels of another grid that a box can reach.

    Args:
        matrix: `(4, 4)`, voxel index of the box's grid to voxel index of the other grid.
        low: `(3,)`, first corner of the box in voxel coordinates.
        high: `(3,)`, opposite corner, inclusive.
        shape: size of the other grid.

    Returns:
        The smallest box of the other grid that holds all of it, cut to `shape`; None if nothing is left.
    """
    corners = np.array([[*corner, 1.0] for corner in itertools.product(*zip(low, high, strict=True))])
    reached = (corners @ matrix.T)[:, :3]
    start = np.maximum(np.floor(reached.min(axis=0)).astype(int), 0)
    stop = np.minimum(np.ceil(reached.max(axis=0)).astype(int) + 1, shape)
    if (start >= stop).any():
        return None
    return tuple(slice(int(first), int(last)) for first, last in zip(start, stop, strict=True))


def sample_linearly(
    volume: np.ndarray, matrix: np.ndarray, box: Box, mode: str = "constant", cval: float = 0.0
) -> np.ndarray:
    """Sample a volume linearly at the voxels of a box of another grid.

    Args:
        volume: `(H, W, D)`.
        matrix: `(4, 4)`, voxel index of the other grid to voxel index of `volume`.
        box: the voxels of the other grid.
        mode: what lies outside, as in `scipy.ndimage.affine_transform`: `"constant"` is `cval` right from the centers
            of the outermost voxels on, `"grid-constant"` fades over one voxel.
        cval: value outside.

    Returns:
        float32 array of the box's shape.
    """
    start = np.array([part.start for part in box], dtype=float)
    offset = matrix[:3, :3] @ start + matrix[:3, 3]
    shape = tuple(part.stop - part.start for part in box)
    return affine_transform(
        volume, matrix[:3, :3], offset, shape, output=np.float32, order=1, mode=mode, cval=cval, prefilter=False
    )


def voxel_map(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Matrix from voxel index of one grid to voxel index of another.

    Args:
        source: `(4, 4)` affine of the first grid, voxel index to millimeters.
        target: `(4, 4)` affine of the second grid.

    Returns:
        `(4, 4)`. Elements within 1e-5 of a whole number are rounded to it, and with them a shift within 1e-3 voxels:
        headers store spacings such as 1.0000001, and grids that coincide must not blur or lose voxels to that.
    """
    matrix = np.linalg.inv(target) @ source
    whole = np.round(matrix)
    near = np.abs(matrix - whole) < 1e-5
    if near[:3, :3].all():
        near[:3, 3] = np.abs(matrix - whole)[:3, 3] < 1e-3
    return np.where(near, whole, matrix)
