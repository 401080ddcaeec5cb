"""Images read whole, and known again by their checksum."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from monai_mamba.data.image_file import checksum_of, expected_length, open_image, read_content, read_image, stored_scale
from monai_mamba.errors import InputError

VOXELS = np.arange(9**3, dtype=np.int16).reshape(9, 9, 9)


@pytest.mark.parametrize(
    ("kind", "name"), [(nib.Nifti1Image, "a.nii.gz"), (nib.Nifti2Image, "a.nii"), (nib.MGHImage, "a.mgz")]
)
def test_every_format_gives_its_voxels_and_promises_its_length(kind, name, tmp_path):
    nib.save(kind(VOXELS, np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / name)
    image = read_image(tmp_path / name)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), VOXELS)
    assert expected_length(image) == image.dataobj.offset + 2 * VOXELS.size
    assert np.isnan(stored_scale(image))


def test_another_content_is_noticed(tmp_path):
    nib.save(nib.Nifti1Image(VOXELS, np.eye(4)), tmp_path / "a.nii")
    checksum = checksum_of(read_content(tmp_path / "a.nii"))
    read_image(tmp_path / "a.nii", checksum)
    nib.save(nib.Nifti1Image(VOXELS + 1, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"a\.nii: the file has changed since its voxels were read"):
        read_image(tmp_path / "a.nii", checksum)


def test_the_scale_of_stored_integers_is_known(tmp_path):
    image = nib.Nifti1Image(VOXELS, np.eye(4))
    image.header.set_slope_inter(0.5, 0)
    nib.save(image, tmp_path / "a.nii")
    assert stored_scale(open_image(tmp_path / "a.nii")) == 0.5
