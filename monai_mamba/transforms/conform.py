"""The standard grid of FreeSurfer (1 mm, LIA) and the intensity scale that the networks are trained with."""

from __future__ import annotations

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Orientation
from nibabel.affines import apply_affine, voxel_sizes

from monai_mamba.errors import InputError
from monai_mamba.grids import box_affine, box_shape, box_within, grow_box, map_box, sample_linearly, voxel_map
from monai_mamba.transforms.each_entry import EachEntryTransform

LIA = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
SIZE = 256
BINS = 1000
IGNORED = 0.001
AIR = 0.05  # brightness, 0..1, up to which a voxel is air
MARGIN = 8  # as many zeros around a scan as `CropForegroundd` of the bundles keeps around a head


def robust_range(data: np.ndarray) -> tuple[float, float]:
    """Lower and upper intensity that become the ends of the gray scale, as in FreeSurfer's `mri_convert --conform`.

    The lower one is the minimum of the image, which is finite and not constant. The upper one, always larger, leaves
    out the brightest 0.1 % of the non-zero voxels; it is read from a histogram of 1000 bins, two bins below the one
    that reaches that count.
    """
    low, high = float(data.min()), float(data.max())
    values = data[np.abs(data) >= 1e-15]  # the zeros around a head are below the cut in any case
    if not values.size:  # a slope in the header can make all of a head as small as that
        values = data[data != 0]
    counts, edges = np.histogram(values, bins=BINS, range=(low, high))
    kept = values.size - int(IGNORED * values.size)
    upper = int(np.flatnonzero(np.concatenate(([0], np.cumsum(counts))) >= kept)[0]) - 2
    if upper < BINS // 50:
        # A few hot voxels stretch the histogram so far that it cannot resolve the tissue: take the exact quantile.
        exact = float(np.partition(values, kept - 1)[kept - 1])
        return low, exact if exact > low else high
    return low, float(edges[upper])


def conform_affine(
    shape: tuple[int, ...], affine: np.ndarray, center: np.ndarray | None = None
) -> tuple[int, np.ndarray]:
    """The grid that an image `(H, W, D)` is conformed to.

    Args:
        shape: voxels of the image.
        affine: `(4, 4)`, voxel index to millimeters, RAS.
        center: `(3,)`, voxel coordinates of the image that become the center; None is `shape / 2`, as in FreeSurfer.

    Returns:
        Size of the cube (256, or more, even, where the field of view is larger, so that no head is cut) and its affine.
    """
    center = np.asarray(shape, dtype=float) / 2 if center is None else center
    spacing = voxel_sizes(affine)
    size, extent = SIZE, spacing * np.asarray(shape)
    if extent.max() > SIZE + 1e-3:
        # One voxel more, because the center of FreeSurfer is half a voxel beside the middle.
        size = 2 * int(np.ceil((extent + spacing).max() / 2))
    conformed = np.eye(4)
    conformed[:3, :3] = LIA
    conformed[:3, 3] = apply_affine(affine, center) - LIA @ np.full(3, size / 2)
    return size, conformed


def conform(
    image: np.ndarray, affine: np.ndarray, center: np.ndarray | None = None, margin: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Resample an image `(H, W, D)` to 1 mm, LIA, 256 voxels along each axis, 8 bit, as FastSurfer does.

    The gray scale is computed on the image as it is and applied after the linear interpolation; voxels that are exactly
    0 stay 0. Images of type uint8 keep their values. Arguments as in `conform_affine`; the image is finite, not
    constant. `margin` cuts the cube to the image and so many voxels around it.

    Source: Henschel et al., FastSurfer, NeuroImage 219 (2020), https://github.com/Deep-MI/FastSurfer.

    Returns:
        The conformed image, `(256, 256, 256)` uint8 (larger cubes for larger fields of view) or a part of it, and its
        affine.
    """
    size, conformed_affine = conform_affine(image.shape, affine, center)
    back = voxel_map(conformed_affine, affine)
    cube, last = (size,) * 3, np.asarray(image.shape) - 1
    box = map_box(voxel_map(affine, conformed_affine), np.zeros(3), last, cube)
    if box is None:
        return np.zeros(cube, dtype=np.uint8), conformed_affine
    part = grow_box(box, size if margin is None else margin, cube)
    conformed = np.zeros(box_shape(part), dtype=np.uint8)
    values = sample_linearly(image if image.dtype == np.float32 else image.astype(np.float64), back, box)
    if image.dtype != np.uint8:
        low, high = robust_range(image)
        values = np.where(values == 0, 0, np.clip((values - low) * (255 / (high - low)), 0, 255))
    conformed[box_within(box, part)] = np.rint(values)
    return conformed, box_affine(conformed_affine, part)


class Conformd(EachEntryTransform):
    """Bring images of any orientation and spacing to the 1 mm LIA grid, gray values 0..255.

    The result carries its own affine, from which `RestoreLabelsd` finds the way back; it is not recorded for `Invertd`.

    Args:
        keys: images, `MetaTensor`s `(1, H, W, D)`.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)
        self.orientation = Orientation(axcodes="RAS", labels=None)

    def apply(self, image: MetaTensor) -> MetaTensor:
        """Image, float32 `(1, H, W, D)`: the part of the cube of `conform` that the scan reaches, and 8 voxels around.

        Raises:
            InputError: only voxels between those of the 1 mm grid differ from the rest, so nothing is to be seen.
        """
        # FreeSurfer's center, voxel shape/2, is another point of the head when an axis is stored the other way round.
        # From RAS, all 48 orientations of a scan give the same image; from a whole voxel, a 1 mm scan is not blurred.
        image = self.orientation(image)
        center = np.floor(np.asarray(image.shape[1:]) / 2)
        conformed, affine = conform(image[0].numpy(), np.asarray(image.affine, dtype=float), center, MARGIN)
        if conformed.min() == conformed.max():
            name = image.meta.get("filename_or_obj", "image")
            raise InputError(f"{name}: no contrast is left at 1 mm. Check how the file was made.")
        tensor = torch.from_numpy(conformed).to(torch.float32)[None]
        return MetaTensor(tensor, meta={**image.meta, "affine": torch.from_numpy(affine)})


class ScaleIntensityRobustd(EachEntryTransform):
    """Scale gray values to 0..1 in 256 steps, with the brightest 0.1 % of the non-zero voxels at 1.

    The ends of the scale are those of `robust_range`.

    Args:
        keys: images, any shape.
    """

    def apply(self, image: torch.Tensor) -> torch.Tensor:
        """The scaled image, float32, 0..1."""
        low, high = robust_range(image.numpy())
        scaled = image.to(torch.float32) - low
        # In place, because a volume is large.
        return scaled.mul_(255 / (high - low)).clamp_(0, 255).round_().div_(255)


def is_no_air(image: torch.Tensor) -> torch.Tensor:
    """Mask of what is brighter than air in an image of any shape, 0..1; other processes cannot be given a lambda."""
    return image > AIR
