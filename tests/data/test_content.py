"""What files hold by their voxels."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from monai_mamba.data.content import may_be_labels_of, other_than_scan


def test_real_scans_are_told_from_their_label_maps(shared):
    images, maps = 0, 0
    for path in sorted((shared / "data" / "real_labelled").glob("*.nii.gz"))[::7]:
        is_map = path.name.endswith("_dseg.nii.gz")
        assert (other_than_scan(path) is not None) == is_map, path
        images, maps = images + (not is_map), maps + is_map
    assert images > 3
    assert maps > 3


def test_labels_belong_to_scans_on_their_grid(tmp_path):
    moved = np.eye(4)
    for name, shift in (("labels", 0.0), ("near", 0.9), ("far", 1.1)):
        moved[0, 3] = shift
        nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), np.uint8), moved), tmp_path / f"{name}.nii")
    labels, near, far = (tmp_path / f"{name}.nii" for name in ("labels", "near", "far"))
    assert may_be_labels_of(labels, [far, near])
    assert not may_be_labels_of(labels, [far])
    (tmp_path / "damaged.nii").touch()
    assert may_be_labels_of(tmp_path / "damaged.nii", [far])


@pytest.mark.filterwarnings("error")
def test_complex_voxels_are_no_labels(tmp_path):
    labels = np.zeros((12, 12, 12), np.complex64)
    labels[3:9, 3:9, 3:9] = 17
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "a.nii.gz")
    assert other_than_scan(tmp_path / "a.nii.gz") is None
