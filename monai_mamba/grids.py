"""Voxel grids given by affines, boxes of voxels on them, and linear resampling from one to another."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms.utils import generate_spatial_bounding_box
from monai.utils import convert_to_numpy, ensure_tuple
from nibabel.affines import apply_affine, from_matvec, voxel_sizes
from scipy.ndimage import affine_transform, find_objects

Box = tuple[slice, ...]


@dataclass(frozen=True)
class Grid:
    """The voxel grid of an image file.

    Attributes:
        name: path of the file, for messages.
        affine: `(4, 4)`, voxel index to millimeters.
        shape: `(H, W, D)`.
    """

    name: str
    affine: np.ndarray
    shape: tuple[int, ...]

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Grid:
        """Read it from the meta data that MONAI's readers leave (`original_affine`, `spatial_shape`).

        The meta data may be those of one image or of a batch of one, and the image may be on another grid by now.
        """
        return cls(
            name=str(ensure_tuple(meta.get("filename_or_obj", "image"))[0]),
            affine=one_affine(meta["original_affine"]),
            shape=tuple(int(size) for size in np.ravel(meta["spatial_shape"])[:3]),
        )

    def distance_to_border(self, points: np.ndarray) -> np.ndarray:
        """How far points `(N, 3)` in voxels of this grid are inside its border, in mm; negative outside."""
        inside = np.minimum(points + 0.5, np.array(self.shape) - 0.5 - points)
        return (inside * voxel_sizes(self.affine)).min(axis=1)


def one_affine(affine: torch.Tensor | np.ndarray) -> np.ndarray:
    """One affine `(4, 4)`, float64, also from a batch of one."""
    return np.asarray(affine, dtype=float).reshape(-1, 4, 4)[0]


def voxel_volume(affine: np.ndarray) -> float:
    """Volume of a voxel in cubic millimeters, by an affine `(4, 4)`."""
    return float(abs(np.linalg.det(affine[:3, :3])))


def largest_shift(one: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Largest distance in mm between the places that two affines `(4, 4)` give to a voxel of a volume `(H, W, D)`."""
    corners = np.array(list(itertools.product(*((0, size - 1) for size in shape))))
    return float(np.linalg.norm(apply_affine(one, corners) - apply_affine(other, corners), axis=1).max())


def voxel_map(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Matrix `(4, 4)` from voxel index of one grid to voxel index of another, by their affines `(4, 4)`.

    Elements within 1e-5 of a whole number are rounded to it, and with them a shift within 1e-3 voxels: headers store
    spacings such as 1.0000001, and grids that coincide must not blur or lose voxels to that.
    """
    matrix = np.linalg.inv(target) @ source
    whole = np.round(matrix)
    near = np.abs(matrix - whole) < 1e-5
    if near[:3, :3].all():
        near[:3, 3] = np.abs(matrix - whole)[:3, 3] < 1e-3
    return np.where(near, whole, matrix)


def bounding_box(mask: torch.Tensor | np.ndarray, margin: int | Sequence[int] = 0) -> Box | None:
    """Smallest box around what is True in a mask `(H, W, D)`, and a margin inside the image; None without any.

    NumPy reduces masks several times as fast as PyTorch.
    """
    mask = convert_to_numpy(mask)[None]
    low, high = generate_spatial_bounding_box(mask, select_fn=lambda inside: inside, margin=margin, allow_smaller=True)
    return tuple(slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True)) if max(high) > 0 else None


def label_boxes(labels: np.ndarray) -> dict[int, Box]:
    """Smallest box of each label > 0 of a label map `(H, W, D)`, in one pass for all."""
    return {label: box for label, box in enumerate(find_objects(labels), start=1) if box}


def box_corners(box: Box) -> tuple[np.ndarray, np.ndarray]:
    """First and last voxel of a box, each `(3,)`."""
    return np.array([part.start for part in box]), np.array([part.stop - 1 for part in box])


def box_shape(box: Box) -> tuple[int, ...]:
    """Voxels of a box along each axis."""
    return tuple(part.stop - part.start for part in box)


def box_affine(affine: np.ndarray, box: Box) -> np.ndarray:
    """Affine `(4, 4)` of a box, by that of its grid."""
    return affine @ from_matvec(np.eye(3), box_corners(box)[0])


def box_union(boxes: Sequence[Box]) -> Box:
    """Smallest box that holds all of some boxes."""
    return tuple(
        slice(min(part.start for part in parts), max(part.stop for part in parts)) for parts in zip(*boxes, strict=True)
    )


def box_intersection(first: Box, second: Box) -> Box | None:
    """What two boxes share; None if nothing."""
    box = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(first, second, strict=True))
    return box if all(part.start < part.stop for part in box) else None


def grow_box(box: Box, margin: int, shape: Sequence[int]) -> Box:
    """A box and the margin around it, as far as an image of a shape `(H, W, D)` reaches."""
    return tuple(
        slice(max(0, part.start - margin), min(size, part.stop + margin)) for part, size in zip(box, shape, strict=True)
    )


def box_within(box: Box, outer: Box) -> Box:
    """A box by its place in another one."""
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, outer, strict=True))


def map_box(matrix: np.ndarray, low: np.ndarray, high: np.ndarray, shape: tuple[int, ...]) -> Box | None:
    """Smallest box of another grid that holds all that a box can reach, cut to `shape`; None if nothing is left.

    Args:
        matrix: `(4, 4)`, voxel index of the box's grid to voxel index of the other grid.
        low: `(3,)`, first corner of the box in voxel coordinates.
        high: `(3,)`, opposite corner, inclusive.
        shape: size of the other grid.
    """
    reached = apply_affine(matrix, list(itertools.product(*zip(low, high, strict=True))))
    start = np.maximum(np.floor(reached.min(axis=0)).astype(int), 0)
    stop = np.minimum(np.ceil(reached.max(axis=0)).astype(int) + 1, shape)
    if (start >= stop).any():
        return None
    return tuple(slice(int(first), int(last)) for first, last in zip(start, stop, strict=True))


def sample_linearly(
    volume: np.ndarray, matrix: np.ndarray, box: Box, mode: str = "constant", cval: float = 0.0
) -> np.ndarray:
    """Sample a volume `(H, W, D)` linearly at the voxels of a box of another grid; float32 of the box's shape.

    Where the voxels of the two grids coincide they are copied, which gives the same sooner.

    Args:
        volume: the volume.
        matrix: `(4, 4)`, voxel index of the other grid to voxel index of `volume`.
        box: the voxels of the other grid.
        mode: as in `scipy.ndimage.affine_transform`: outside, `"constant"` is `cval` right from the centers of the
            outermost voxels on, `"grid-constant"` fades to it over one voxel.
        cval: value outside.
    """
    turn, offset = matrix[:3, :3], matrix[:3, :3] @ box_corners(box)[0] + matrix[:3, 3]
    shape = box_shape(box)
    steps = np.abs(turn)
    # Without negative elements, only matrices that exchange axes are orthogonal.
    if not np.array_equal(steps @ steps.T, np.eye(3)) or (offset % 1).any():
        return affine_transform(
            volume, turn, offset, shape, output=np.float32, order=1, mode=mode, cval=cval, prefilter=False
        )
    axes = steps.argmax(axis=0)  # of the volume, in the order of the box
    forward = turn.sum(axis=0) > 0
    volume = volume.transpose(axes)[tuple(slice(None, None, 1 if ahead else -1) for ahead in forward)]
    first = np.where(forward, offset[axes], np.array(volume.shape) - 1 - offset[axes]).astype(int)
    there, here = _overlap(tuple(slice(a, a + size) for a, size in zip(first, shape, strict=True)), volume.shape)
    result = np.full(shape, cval, dtype=np.float32)
    result[here] = volume[there]
    return result


def sample_part(image: torch.Tensor, part: Box, matrix: np.ndarray, box: Box, outside: float = 0.0) -> np.ndarray:
    """Sample one part of an image `(H, W, D)` as `sample_linearly` does, fading to `outside` over one voxel beyond it.

    Args:
        image: the image.
        part: the voxels of the image to read.
        matrix: `(4, 4)`, voxel index of the other grid to voxel index of `image`.
        box: the voxels of the other grid.
        outside: value of everything that is not in the part.
    """
    to_part = from_matvec(np.eye(3), -box_corners(part)[0]) @ matrix
    return sample_linearly(image[part].float().numpy(), to_part, box, mode="grid-constant", cval=outside)


def cut_box(image: torch.Tensor, box: Box) -> torch.Tensor:
    """Copy a box out of an image `(..., H, W, D)`; it is 0 where it lies outside."""
    there, here = _overlap(box, image.shape[-3:])
    cut = image.new_zeros((*image.shape[:-3], *box_shape(box)))
    cut[(..., *here)] = image[(..., *there)]
    return cut


def add_box(image: torch.Tensor, values: torch.Tensor, box: Box) -> None:
    """Add what belongs into a box to an image `(..., H, W, D)` in place; what lies outside is dropped."""
    there, here = _overlap(box, image.shape[-3:])
    image[(..., *there)] += values[(..., *here)]


def _overlap(box: Box, shape: Sequence[int]) -> tuple[Box, Box]:
    """Part of a box that lies in an image: where in the image, and where in the box."""
    there = tuple(slice(*np.clip((part.start, part.stop), 0, size)) for part, size in zip(box, shape, strict=True))
    return there, box_within(there, box)
