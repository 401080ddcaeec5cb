"""Labels of an altered scan compared with those of the scan as it is, in space."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from scipy import ndimage

from monai_mamba.grids import map_box, voxel_map
from monai_mamba.labels import LabelTable

from .robustness_conditions import Change, Condition, onto_grid
from .robustness_report import Outcome


def compare(
    condition: Condition,
    change: Change,
    labels: nib.Nifti1Image,
    baseline: nib.Nifti1Image,
    reference: nib.Nifti1Image | None,
    table: LabelTable,
    ids: Sequence[int],
    expected_dsc: np.ndarray,
) -> Outcome:
    """Compare the labels of an altered scan with those of the scan as it is, and with the reference.

    Label maps on different grids are compared in space, each voxel as the box that it is: all of them are read at the
    centers of boxes of half the baseline's voxel size. On the baseline's own grid, labels would be moved by up to half
    a voxel, which for thin structures counts more than most alterations.

    Args:
        condition: what was done.
        change: the same, as far as it has to be undone.
        labels: label map of the altered scan.
        baseline: label map of the scan as it is.
        reference: label map to compare with, too, on any grid.
        table: the classes.
        ids: the C structures to compare.
        expected_dsc: DSC that the network itself expects of the structures, `(C,)`, 0..1, NaN where it does not say.
    """
    found, moved = change.undo(labels, table)
    expected, affine = np.asanyarray(baseline.dataobj), baseline.affine
    resampled = onto_grid(expected, affine, found.shape, moved)
    maps = [(expected, affine), (found, moved), (resampled, moved)]
    if reference is not None:
        maps.append((np.asanyarray(reference.dataobj), reference.affine))
    maps = [(np.where(np.isin(values, ids), values, 0), place) for values, place in maps]
    shape, grid = fine_grid(maps, expected.shape, affine)
    truth, prediction, itself, *others = (onto_grid(values, place, shape, grid) for values, place in maps)
    back = onto_grid(found, moved, expected.shape, affine)
    return Outcome(
        condition=condition,
        detail=change.detail,
        dsc=overlaps(prediction, truth, ids),
        volumes=volumes(found, moved, ids),
        grid_dsc=overlaps(itself, truth, ids),
        reference_dsc=overlaps(prediction, others[0], ids) if others else None,
        expected_dsc=expected_dsc,
        changed=int(np.count_nonzero(back != expected)),
    )


def fine_grid(
    maps: Sequence[tuple[np.ndarray, np.ndarray]], shape: Sequence[int], affine: np.ndarray
) -> tuple[tuple[int, ...], np.ndarray]:
    """The part of a grid that holds all labels, each of its voxels split into 8.

    Args:
        maps: label ids `(H, W, D)` with their affines `(4, 4)`; one of them at least has a label in the grid.
        shape: of the grid.
        affine: `(4, 4)` of the grid.

    Returns:
        Shape and affine of the fine grid.
    """
    boxes = []
    for ids, place in maps:
        for part in ndimage.find_objects((ids > 0).astype(np.uint8)):
            ends = np.array([[axis.start - 0.5, axis.stop - 0.5] for axis in part]).T
            boxes.append(map_box(voxel_map(place, affine), *ends, shape))
    boxes = [box for box in boxes if box]
    start = np.min([[axis.start for axis in box] for box in boxes], axis=0)
    stop = np.max([[axis.stop for axis in box] for box in boxes], axis=0)
    halves = nib.affines.from_matvec(np.eye(3) / 2, start - 0.25)
    return tuple(2 * (stop - start)), affine @ halves


def overlaps(prediction: np.ndarray, reference: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """DSC of each of the C structures, `(C,)`, 0..1; NaN where it is in neither of two label maps on one grid."""
    length = int(max(*ids, prediction.max(), reference.max())) + 1
    sizes = sum(np.bincount(labels.ravel(), minlength=length) for labels in (prediction, reference))[list(ids)]
    common = np.bincount(prediction[prediction == reference], minlength=length)[list(ids)]
    return np.where(sizes > 0, 2 * common / np.maximum(sizes, 1), np.nan)


def volumes(labels: np.ndarray, affine: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """Volume of each of the C structures in mm3, voxels times voxel volume, `(C,)`."""
    voxels = np.bincount(labels.ravel(), minlength=max(ids) + 1)
    return voxels[list(ids)] * abs(np.linalg.det(affine[:3, :3]))
