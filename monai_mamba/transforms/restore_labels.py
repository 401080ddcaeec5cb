"""From class probabilities on the network's grid to label ids on the grid of the input file."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform

from monai_mamba.labels import LabelTable
from monai_mamba.transforms.resample import Box, map_box, sample_linearly, voxel_map


class RestoreLabelsd(MapTransform):
    """Resample class probabilities to the input's own grid and write the id of the most probable class.

    Probabilities, not labels, are resampled (linearly, straight from the grid they are on), so borders stay smooth
    whatever the voxel size; where the two grids coincide the result is exact. One class at a time, each only where it
    can be the most probable one, so that no more than one class is held at the input's resolution.

    The input's grid is read from `original_affine` and `spatial_shape`, which MONAI's readers leave in the meta data.

    Args:
        keys: keys of `MetaTensor` probabilities `(C, H, W, D)`, 0..1, summing to 1 over the classes, with their own
            affine.
        labels: the label table, or its name or path, see `LabelTable.load`.
        allow_missing_keys: do not raise if a key is missing.
    """

    def __init__(
        self, keys: Hashable, labels: LabelTable | str = "subcortical", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.table = LabelTable.load(labels) if isinstance(labels, str) else labels

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return the data with label maps `(1, H, W, D)` of the input's shape and affine.

        The label map is uint8, or uint16 where an id needs it. Its meta data hold, for each id that can be written,
        `soft_volumes`, its volume in cubic millimeters from the probabilities, and `expected_dsc`, 0..1: the Dice
        coefficient of the label map with a truth of which the probabilities are right, NaN where the structure is in
        neither. It falls where the network hesitates; a network can also be surely wrong.

        Raises:
            InputError: the number of channels is not that of the label table.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = _restore(result[key], self.table)
        return result


def _restore(probabilities: MetaTensor, table: LabelTable) -> MetaTensor:
    table = table.for_channels(probabilities.shape[0])
    classes = probabilities.as_tensor().cpu()
    affine = _matrix(probabilities.affine)
    native_affine = _matrix(probabilities.meta["original_affine"])
    native_shape = tuple(int(size) for size in np.ravel(probabilities.meta["spatial_shape"])[:3])
    to_native, to_crop = voxel_map(affine, native_affine), voxel_map(native_affine, affine)

    ids = np.zeros(native_shape, dtype=np.uint8 if max(table.ids) < 256 else np.uint16)
    boxes = {entry.index: _candidates(classes[entry.index], len(table)) for entry in table}
    native = {index: box and map_box(to_native, *_corners(box), native_shape) for index, box in boxes.items() if index}
    found = [native[entry.index] for entry in table.structures if native[entry.index]]
    certain = np.zeros(max(table.ids) + 1)
    if found:
        # Background and auxiliary classes are of interest only where they compete with a structure.
        area = _union(found)
        whole = tuple(slice(0, size) for size in classes.shape[1:])
        best = _sample(classes[0], whole, to_crop, area, outside=1.0)
        for entry in table:
            box = native.get(entry.index) and _intersection(native[entry.index], area)
            if box is None:
                continue
            values = _sample(classes[entry.index], boxes[entry.index], to_crop, box)
            inside = tuple(slice(b.start - a.start, b.stop - a.start) for a, b in zip(area, box, strict=True))
            wins = values > best[inside]
            best[inside][wins] = values[wins]
            ids[box][wins] = entry.id if entry.written else 0
        certain = np.bincount(ids[area].ravel(), weights=best.ravel(), minlength=len(certain))

    meta = {**probabilities.meta, "affine": torch.from_numpy(native_affine)}
    soft = _soft_volumes(classes, boxes, table, abs(np.linalg.det(affine[:3, :3])))
    meta["soft_volumes"] = soft
    counts, voxel_volume = np.bincount(ids.ravel(), minlength=len(certain)), abs(np.linalg.det(native_affine[:3, :3]))
    sizes = {label: counts[label] * voxel_volume + volume for label, volume in soft.items()}
    meta["expected_dsc"] = {
        label: 2 * float(certain[label]) * voxel_volume / size if size else np.nan for label, size in sizes.items()
    }
    return MetaTensor(torch.from_numpy(ids)[None], meta=meta)


def _candidates(probability: torch.Tensor, classes: int) -> Box | None:
    """Box around the voxels where a class can be the most probable one: those of probability 1 / classes or more."""
    mask = probability >= 1 / classes
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        hits = torch.nonzero(mask.any(dim=others[1]).any(dim=others[0])).flatten()
        if len(hits) == 0:
            return None
        # One voxel more, because linear interpolation reaches that far.
        box.append(slice(max(int(hits[0]) - 1, 0), min(int(hits[-1]) + 2, probability.shape[axis])))
    return tuple(box)


def _soft_volumes(
    classes: torch.Tensor, boxes: dict[int, Box | None], table: LabelTable, voxel_volume: float
) -> dict[int, float]:
    """Volume of each structure from its probabilities, in cubic millimeters.

    Probabilities below 1 / classes, which never decide a voxel, are left out: over the millions of background voxels
    even the smallest add up.
    """
    volumes = {}
    for entry in table.structures:
        box = boxes[entry.index]
        values = classes[entry.index][box].float() if box else torch.zeros(1)
        volumes[entry.id] = float(values[values >= 1 / len(table)].sum()) * voxel_volume
    return volumes


def _sample(probability: torch.Tensor, part: Box, to_crop: np.ndarray, box: Box, outside: float = 0.0) -> np.ndarray:
    """Values of `probability[part]` at the voxels `box` of the input grid."""
    shift = np.eye(4)
    shift[:3, 3] = [-axis.start for axis in part]
    values = probability[part].to(torch.float32).numpy()
    return sample_linearly(values, shift @ to_crop, box, mode="grid-constant", cval=outside)


def _corners(box: Box) -> tuple[np.ndarray, np.ndarray]:
    return np.array([axis.start for axis in box]), np.array([axis.stop - 1 for axis in box])


def _union(boxes: list[Box]) -> Box:
    return tuple(
        slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes)) for axis in range(3)
    )


def _intersection(first: Box, second: Box) -> Box | None:
    box = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(first, second, strict=True))
    return box if all(axis.start < axis.stop for axis in box) else None


def _matrix(affine: torch.Tensor | np.ndarray) -> np.ndarray:
    """One `(4, 4)` matrix, also from a batch of one."""
    return np.asarray(affine, dtype=float).reshape(-1, 4, 4)[0]
