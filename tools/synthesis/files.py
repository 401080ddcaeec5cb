"""Label maps that synthetic cases are made from, and the files that they become."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np

from monai_mamba.data.label_maps import find_label_maps
from monai_mamba.errors import writing
from monai_mamba.files import write_atomically

FIELD_OF_VIEW = (240, 240, 155)  # mm, of BraTS and of Task01
SIGNS = (-1, -1, 1)  # voxels run to the left, to the back and upward


def find_maps(sources: Sequence[str]) -> list[str]:
    """Label maps given as files, or as folders of them."""
    maps = []
    for source in map(Path, sources):
        maps += [str(source)] if source.is_file() else find_label_maps(source)
    return maps


def grid(spacing: float) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine `(4, 4)` of the field of view of BraTS at a spacing in mm."""
    shape = tuple(round(size / spacing) for size in FIELD_OF_VIEW)
    affine = np.diag([*(sign * spacing for sign in SIGNS), 1.0])
    affine[1, 3] = (shape[1] - 1) * spacing
    return shape, affine


def save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    """Write a volume, or several along a fourth axis."""
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    with writing(str(path)):
        write_atomically(path, partial(nib.save, image))
