"""What counts as the inside of the skull in a label map, and which label maps are refused."""

from __future__ import annotations

from argparse import Namespace

import nibabel as nib
import numpy as np
import pytest
from make_average_head import CENTERS, CEREBELLUM, CORD, inside_of_skull, make_average

from monai_mamba.errors import InputError

FLUID, BRAIN, SKULL, VESSEL = 24, 2, 515, 24


def test_brain_and_fluid_are_inside_and_vessels_of_the_neck_are_not():
    grid = np.indices((60, 60, 60)) - 30
    radius = np.sqrt((grid**2).sum(axis=0))
    ids = np.select([radius <= 16, radius <= 20, radius <= 23], [BRAIN, FLUID, SKULL], 0)
    ids[28:33, 28:33, 14:18] = CEREBELLUM[0]
    inside = (radius <= 20) & (grid[2] >= -16)
    ids[29:32, 29:32, :14] = CORD
    ids[30, 30, 55:] = VESSEL
    ids[40:42, 30, 30] = SKULL  # a hole
    found = inside_of_skull(ids)
    assert np.count_nonzero(found != inside) < 0.02 * np.count_nonzero(inside)  # edges are rounded
    assert found[40:42, 30, 30].all()
    assert not found[:, :, 55:].any()


REFUSED = {
    "too few": (2, CENTERS, 1.0, r"there are 2 label maps, expected 3 or more"),
    "a structure missing": (3, CENTERS[:-1], 1.0, r"0\.nii\.gz: it has no voxel of \[60\]"),
    "another grid": (3, CENTERS, 2.0, r"0\.nii\.gz: its voxels are not those of RAS and 1 mm"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_label_maps_that_cannot_be_used_are_refused(case, tmp_path):
    count, ids, spacing, said = REFUSED[case]
    maps, output = tmp_path / "maps", tmp_path / "output"
    maps.mkdir()
    voxels = np.resize(ids, (4, 4, 4)).astype(np.int16)
    for index in range(count):
        nib.save(nib.Nifti1Image(voxels, np.diag([spacing, 1, 1, 1])), maps / f"{index}.nii.gz")
    with pytest.raises(InputError, match=said):
        make_average(Namespace(label_maps=str(maps), output_dir=str(output)))
    assert not output.exists()
