"""The contract for the voxels of an input image: what is repaired, what is warned of, what is refused."""

from __future__ import annotations

import logging
from itertools import pairwise

import numpy as np
import torch
from monai.data import MetaTensor
from nibabel.affines import voxel_sizes

from monai_mamba.data.geometry import check_affine
from monai_mamba.data.image_header import check_extent, check_shape
from monai_mamba.errors import InputError
from monai_mamba.transforms.each_entry import EachEntryTransform

MIN_HEAD_MM = 100.0
LARGEST = 1e30  # a sum over all voxels stays within float32, which ends at 3.4e38
MAX_REPAIRED = 0.01
BINS = 1000
LARGEST_END = 0.25  # of the largest slice, for the rounded end of a head or brain

logger = logging.getLogger(__name__)


class CheckImaged(EachEntryTransform):
    """Repair, warn about or refuse a loaded image, so that later steps can rely on it.

    Refused (`InputError`): anything but one 3-D volume, a singular affine, a field of view that no head has, an image
    of one or two values, 1 % or more voxels that are not finite or above `LARGEST`. Repaired with a warning: fewer such
    voxels become 0, and fewer than 1 %, or all of one value but 0, that are far below all others become as dark as the
    darkest of those. Warned of:
    a header without orientation or one that contradicts itself (which `VerifyingNibabelReader` leaves in the meta
    data), a field of view smaller than a head. Noted as `seen` in the meta data: see `_seen_part`.

    Args:
        keys: images, `MetaTensor`s `(1, H, W, D)`.
    """

    def apply(self, image: MetaTensor) -> MetaTensor:
        """The checked image, `(1, H, W, D)`.

        Raises:
            InputError: it cannot be processed.
        """
        name = image.meta.get("filename_or_obj", "image")
        check_shape(name, (*image.shape[1:], image.shape[0]))
        if image.ndim > 4:  # axes of length 1 that some converters append
            image = image.reshape(image.shape[:4])
        affine = np.asarray(image.affine, dtype=float)
        check_affine(name, affine)
        check_extent(name, image.shape[1:], affine)
        _warn_about_geometry(name, image, affine)
        finite = image.as_tensor().abs() <= LARGEST  # NaN is not
        bad = 1 - finite.float().mean().item()
        if bad >= MAX_REPAIRED:
            raise InputError(
                f"{name}: {bad:.1%} of the voxels are NaN, infinite or above {LARGEST:g}; at most {MAX_REPAIRED:.0%} "
                "can be repaired. Set them to 0 where they are background, or repeat the step that made this file."
            )
        if bad > 0:
            logger.warning(
                "%s: %d voxels are NaN, infinite or above %g; they are set to 0.", name, int((~finite).sum()), LARGEST
            )
            image = image.masked_fill(~finite, 0.0)
        values = image.as_tensor()
        low, high = values.min().item(), values.max().item()
        if low == high:
            raise InputError(f"{name}: every voxel is {low:g}; the image shows no head. Check how the file was made.")
        if not torch.logical_and(values != low, values != high).any():
            raise InputError(f"{name}: every voxel is {low:g} or {high:g}; expected an image, not a mask.")
        image = _clip_dark_voxels(name, image, low, high)
        image.meta["seen"] = _seen_part(image[0].numpy())
        return image


def _seen_part(image: np.ndarray) -> np.ndarray:
    """First voxel and the one behind the last, `(3, 2)`, of the part of an image `(H, W, D)` that was scanned.

    Beyond it all voxels have the lowest value, and its last slice is no rounded end of a head or brain: what was not
    scanned was filled up, such as by FreeSurfer, which makes a cube of each scan.
    """
    filled, ends = image != image.min(), []
    for axis, size in enumerate(image.shape):
        slices = filled.sum(axis=tuple({0, 1, 2} - {axis}))
        cut = slices > LARGEST_END * slices.max()
        first, last = np.flatnonzero(slices)[[0, -1]]
        ends.append((first if cut[first] else 0, last + 1 if cut[last] else size))
    return np.array(ends)


def _clip_dark_voxels(name: str, image: MetaTensor, low: float, high: float) -> MetaTensor:
    """Clip voxels below an empty stretch of more than half of all gray values, which would rule the gray scale.

    Such as -32768 where an earlier step had no data: a few voxels, or any number of one value other than 0. Bright
    ones may be a lesion; the scaling clips the brightest.
    """
    values = image.as_tensor()
    filled = torch.histc(values.float(), BINS).cpu().nonzero().flatten().tolist()
    gaps = [after - before for before, after in pairwise(filled)]
    if max(gaps, default=0) <= BINS // 2:
        return image
    last = filled[gaps.index(max(gaps))]
    dark = values < low + (high - low) * (last + BINS // 4) / BINS  # somewhere in the empty stretch
    count = int(dark.sum())
    is_background = low != 0 and bool((values[dark] == low).all())  # 0 is one that other steps know
    if count >= MAX_REPAIRED * dark.numel() and not is_background:
        return image
    darkest = values[~dark].min().item()
    logger.warning("%s: %d voxels are far below all others, down to %g; they are set to %g.", name, count, low, darkest)
    return image.clamp(min=darkest)


def _warn_about_geometry(name: str, image: MetaTensor, affine: np.ndarray) -> None:
    codes = [image.meta.get(code) for code in ("qform_code", "sform_code")]
    if None not in codes and not any(int(code) for code in codes):
        logger.warning(
            "%s: the header has no orientation (qform and sform codes are 0). Assumed, as in the Analyze format: "
            "voxels run from right to left, posterior to anterior, inferior to superior. If that is wrong, left and "
            "right are swapped.",
            name,
        )
    if not int(image.meta.get("goodRASFlag", 1)):
        logger.warning(
            "%s: the header has no orientation (goodRASFlag is 0). Assumed, as in FreeSurfer: voxels of 1 mm run from "
            "right to left, superior to inferior, posterior to anterior. If that is wrong, left and right are swapped.",
            name,
        )
    if image.meta.get("geometry_warning"):
        logger.warning(image.meta["geometry_warning"])
    extent = voxel_sizes(affine) * np.asarray(image.shape[1:])
    if extent.min() < MIN_HEAD_MM:
        logger.warning(
            "%s: the field of view of %s mm is smaller than a head; structures outside it are missing.",
            name,
            " x ".join(f"{size:.0f}" for size in extent),
        )
