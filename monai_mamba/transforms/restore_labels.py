"""From class probabilities on the network's grid to label ids on the grid of the input file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor

from monai_mamba.data.other_scans import doubts_by_name
from monai_mamba.errors import InputError
from monai_mamba.files import read_tsv
from monai_mamba.grids import (
    Box,
    Grid,
    bounding_box,
    box_corners,
    box_intersection,
    box_union,
    box_within,
    label_boxes,
    map_box,
    one_affine,
    sample_part,
    voxel_map,
    voxel_volume,
)
from monai_mamba.labels import LabelTable
from monai_mamba.transforms.each_entry import EachEntryTransform

LARGEST_END = 0.25  # of a structure's largest slice, where its rounded end touches the border
NAMED = 4  # structures that a doubt names


class RestoreLabelsd(EachEntryTransform):
    """Resample class probabilities to the input's own grid and write the id of the most probable class.

    Probabilities, not labels, are resampled (linearly, straight from the grid they are on), so borders stay smooth
    whatever the voxel size; where the two grids coincide the result is exact. One class at a time, each only where it
    can be the most probable one, so that no more than one class is held at the input's resolution.

    The input's grid is read from `original_affine` and `spatial_shape`, which MONAI's readers leave in the meta data.

    Args:
        keys: keys of `MetaTensor` probabilities `(C, H, W, D)`, 0..1, summing to 1 over the classes, with their own
            affine.
        labels: the label table, or its name or path, see `LabelTable.load`.
        calibration: TSV file with the columns `id` and `factor`, by which the expected DSC of a structure is
            multiplied, as `tools/fit_quality.py` writes it; ids that it does not list have none.

    Raises:
        InputError: `calibration` is no such file.
    """

    def __init__(self, keys: KeysCollection, labels: LabelTable | str, calibration: str | Path | None = None) -> None:
        super().__init__(keys)
        self.table = LabelTable.load(labels)
        self.factors: dict[int, float] | None = None
        if calibration is not None:
            try:
                self.factors = {int(row["id"]): float(row["factor"]) for row in read_tsv(calibration, "id")}
                if odd := [label for label, factor in self.factors.items() if not 0 < factor < np.inf]:
                    raise ValueError(f"the factor of {odd[0]} is {self.factors[odd[0]]}, expected a number above 0")
            except (OSError, KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{calibration}: not a table of factors ({error}). Expected columns: id, factor."
                ) from error

    def apply(self, probabilities: MetaTensor) -> MetaTensor:
        """Label map `(1, H, W, D)`, of the input's shape and affine.

        It is uint8, or uint16 where an id needs it. Its meta data hold, for each id that can be written,
        `soft_volumes`, its volume in cubic millimeters from the probabilities, and `expected_dsc`, 0..1: the Dice
        coefficient of the label map with a truth of which the probabilities are right, times the factor of its
        structure, at most 1; NaN where the structure is in neither, or has no factor. It falls where the network
        hesitates; a network can also be surely wrong. `doubts` says which structures are cut off, see `cut_off`, and
        what name and header say of the scan, see `doubts_by_name`.

        Raises:
            InputError: the number of channels is not that of the label table.
        """
        table = self.table.for_channels(probabilities.shape[0])
        classes = probabilities.as_tensor().cpu()
        affine, source = one_affine(probabilities.affine), Grid.of(probabilities.meta)
        to_native, to_crop = voxel_map(affine, source.affine), voxel_map(source.affine, affine)

        ids = np.zeros(source.shape, dtype=np.uint8 if max(table.ids) < 256 else np.uint16)
        # Where a class can be the most probable one, and one voxel more, because linear interpolation reaches that far.
        boxes = {entry.index: bounding_box(classes[entry.index] >= 1 / len(table), 1) for entry in table}
        native = {
            index: box and map_box(to_native, *box_corners(box), source.shape) for index, box in boxes.items() if index
        }
        found = [native[entry.index] for entry in table.structures if native[entry.index]]
        certain = np.zeros(max(table.ids) + 1)
        if found:
            # Background and auxiliary classes are of interest only where they compete with a structure.
            area = box_union(found)
            whole = tuple(slice(0, size) for size in classes.shape[1:])
            best = sample_part(classes[0], whole, to_crop, area, outside=1.0)
            for entry in table:
                box = native.get(entry.index) and box_intersection(native[entry.index], area)
                if box is None:
                    continue
                values = sample_part(classes[entry.index], boxes[entry.index], to_crop, box)
                inside = box_within(box, area)
                wins = values > best[inside]
                best[inside][wins] = values[wins]
                ids[box][wins] = entry.id if entry.written else 0
            certain = np.bincount(ids[area].ravel(), weights=best.ravel(), minlength=len(certain))

        meta = {**probabilities.meta, "affine": torch.from_numpy(source.affine)}
        soft = _soft_volumes(classes, boxes, table, voxel_volume(affine))
        meta["soft_volumes"] = soft
        voxel_mm3 = voxel_volume(source.affine)
        counts = np.bincount(ids.ravel(), minlength=len(certain)) * voxel_mm3
        sizes = {label: counts[label] + volume for label, volume in soft.items()}
        factors = dict.fromkeys(sizes, 1.0) if self.factors is None else self.factors
        meta["expected_dsc"] = {
            label: min(1.0, factors[label] * 2 * float(certain[label]) * voxel_mm3 / size)
            if size and label in factors
            else np.nan
            for label, size in sizes.items()
        }
        cut = cut_off(ids, self.table, meta.get("seen"))
        named = ", ".join(cut[:NAMED]) + (f" and {len(cut) - NAMED} more" if len(cut) > NAMED else "")
        doubts = [f"cut off by the border of the image, so that volumes are too small: {named}"] if cut else []
        meta["doubts"] = "; ".join(doubts + doubts_by_name(meta))
        return MetaTensor(torch.from_numpy(ids)[None], meta=meta)


def cut_off(ids: np.ndarray, table: LabelTable, seen: Sequence[Sequence[int]] | None = None) -> list[str]:
    """Names of the structures in a label map `(H, W, D)` that the border of the image cuts off.

    Those of which a slice at the border has more than a quarter of the voxels of their largest one: the rounded end of
    one in an image that was cropped closely has fewer. The border is that of the part that was `seen`, see
    `CheckImaged`; None is the whole image.
    """
    boxes = label_boxes(ids)
    ends = [(0, size) for size in ids.shape] if seen is None else [tuple(map(int, pair)) for pair in seen]
    return [
        entry.name
        for entry in table.structures
        if entry.id in boxes and _is_cut(ids[boxes[entry.id]] == entry.id, boxes[entry.id], ends)
    ]


def _is_cut(structure: np.ndarray, box: Box, ends: Sequence[tuple[int, int]]) -> bool:
    for axis, (part, (start, stop)) in enumerate(zip(box, ends, strict=True)):
        if at_border := [index - part.start for index in (start, stop - 1) if part.start <= index < part.stop]:
            slices = structure.sum(axis=tuple({0, 1, 2} - {axis}))
            if slices[at_border].max() > LARGEST_END * slices.max():
                return True
    return False


def _soft_volumes(
    classes: torch.Tensor, boxes: dict[int, Box | None], table: LabelTable, volume_of_voxel: float
) -> dict[int, float]:
    """Volume of each structure from its probabilities, in cubic millimeters.

    Probabilities below 1 / classes, which never decide a voxel, are left out: over the millions of background voxels
    even the smallest add up.
    """
    volumes = {}
    for entry in table.structures:
        box = boxes[entry.index]
        values = classes[entry.index][box].float() if box else torch.zeros(1)
        volumes[entry.id] = float(values[values >= 1 / len(table)].sum()) * volume_of_voxel
    return volumes
