"""Label ids as whole numbers, also from files that store them with a scale."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from nibabel.affines import apply_affine

from monai_mamba.data.image_file import read_image, stored_scale
from monai_mamba.errors import InputError
from monai_mamba.grids import one_affine
from monai_mamba.labels.tables import LARGEST_ID, LabelTable

# Neighbors of equal value: 0.85 to 1 of them in label maps, 0.01 to 0.3 in scans, which have many values.
SAME_NEIGHBORS, MANY_VALUES, ENOUGH = 0.4, 64, 1000


def read_label_ids(path: str | Path) -> np.ndarray:
    """Label ids `(H, W, D)`, int32, of a file.

    Raises:
        InputError: see `read_image` and `to_label_ids`.
    """
    image = read_image(path)
    return to_label_ids(np.asanyarray(image.dataobj).reshape(image.shape[:3]), path, stored_scale(image))


def with_label_ids(label: torch.Tensor | np.ndarray) -> torch.Tensor:
    """Label ids, int32, of a loaded label map of any shape and type.

    A `MetaTensor` of `VerifyingNibabelReader` knows its file and its scale, and gives one with the same meta data.

    Raises:
        InputError: see `to_label_ids`.
    """
    scale = label.meta.get("scl_slope", np.nan) if isinstance(label, MetaTensor) else np.nan
    ids = torch.from_numpy(to_label_ids(torch.as_tensor(label).cpu().numpy(), name_of(label), float(scale)))
    return MetaTensor(ids, meta=label.meta) if isinstance(label, MetaTensor) else ids


def name_of(label: torch.Tensor | np.ndarray) -> str:
    """The file of a loaded label map, for messages."""
    return label.meta.get("filename_or_obj", "label map") if isinstance(label, MetaTensor) else "label map"


def to_label_ids(values: np.ndarray, name: str | Path, scale: float = np.nan) -> np.ndarray:
    """Turn the values of a label map, of any shape and type, into label ids, int32.

    A tool that stores labels as scaled integers rounds them to the nearest step of its scale: 17 may come back as
    16.9855; one that computes with them may leave 17.000002. Values beside a whole number are that number as far as
    `largest_rounding` explains them, as long as a step is not larger than 1.

    Args:
        values: the values.
        name: file name for the message.
        scale: `scl_slope` of the file, NaN for none.

    Raises:
        InputError: values that are no whole numbers from 0 to 2^20, which the scale does not explain either; or those
            of a scan.
    """
    scaled = np.isfinite(scale)
    if np.isfinite(values).all() and values.min() > -1 and values.max() <= LARGEST_ID and not (scaled and scale > 1):
        ids = np.rint(values).astype(np.int32)
        if np.max(np.abs(values - ids)) <= largest_rounding(values, scale) and ids.min() >= 0:
            _refuse_scan(ids, name)
            return ids
    odd = np.unique(values[~np.isin(values, np.arange(LARGEST_ID + 1))])[:4]
    found = f"; found {', '.join(str(value) for value in odd)}" if odd.size else ""
    problem = f"{name}: its values are not label ids (whole numbers from 0 to {LARGEST_ID}){found}."
    if scaled:
        raise InputError(
            f"{problem} They are stored with a scale, scl_slope = {scale:g}, which does not explain them. Save "
            "the label map as integers without a scale."
        )
    raise InputError(f"{problem} Is this an image, or a label map that was resampled with interpolation?")


def largest_rounding(values: np.ndarray, scale: float) -> float:
    """By how much labels may differ from whole numbers: half a step of their scale, and some of float32."""
    return (scale / 2 if np.isfinite(scale) else 0.0) + 1e-6 * float(values.max())


def check_sides(classes: torch.Tensor, table: LabelTable, name: str | Path) -> None:
    """Refuse a label map whose structures of the left lie on the right by its affine: its header mirrors the head.

    Args:
        classes: class indices `(1, H, W, D)`, uint8; only a `MetaTensor` has an affine.
        table: the classes; those whose names begin with `Left-` and `Right-` have a side.
        name: file name for the message.

    Raises:
        InputError: they do, on average.
    """
    if not isinstance(classes, MetaTensor):
        return
    lookup = np.array([entry.name.startswith("Left-") - entry.name.startswith("Right-") for entry in table])
    sides = lookup[classes.as_tensor()[0].numpy()]
    voxels = [np.argwhere(sides == side) for side in (1, -1)]
    if not all(map(len, voxels)):
        return
    left, right = (apply_affine(one_affine(classes.affine), found.mean(axis=0))[0] for found in voxels)
    if left > right:
        raise InputError(
            f"{name}: by its header, left lies {left - right:.0f} mm to the right of right. "
            "Expected a label map and a scan whose headers say where left is. Make both again from the original data."
        )


def count_neighbors(voxels: np.ndarray, axes: Iterable[int]) -> tuple[int, int]:
    """How many neighbors along some axes have the same value, and how many pairs there are; 0 is no value."""
    same = pairs = 0
    for axis in axes:
        line = np.moveaxis(voxels, axis, 0)
        both = (line[1:] != 0) & (line[:-1] != 0)
        pairs += np.count_nonzero(both)
        same += np.count_nonzero(both & (line[1:] == line[:-1]))
    return same, pairs


def _refuse_scan(ids: np.ndarray, name: str | Path) -> None:
    """Refuse whole numbers that differ from voxel to voxel, as gray values do."""
    same, pairs = count_neighbors(ids, [-1])
    if pairs >= ENOUGH and same < SAME_NEIGHBORS * pairs and len(np.unique(ids)) > MANY_VALUES:
        raise InputError(
            f"{name}: only {same / pairs:.0%} of neighboring voxels have the same value; in a label map, most have. It "
            "looks like a scan: are image and label map exchanged?"
        )
