"""Headers that are refused before anything is read."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_mamba.data.image_header import check_extent, check_header, check_shape
from monai_mamba.errors import InputError


@pytest.mark.parametrize(
    ("shape", "volumes", "found"),
    [
        ((64, 64), 1, "a 2-D image or a thin slab"),
        ((64, 64, 7), 1, "at least 8 voxels along each axis"),
        ((64, 64, 64, 3), 1, "a series of 3 volumes"),
        ((64, 64, 64, 3), 4, "expected 4 volumes along a fourth axis"),
        ((2048, 2048, 512), 1, "Resample the scan"),
    ],
)
def test_shapes_are_refused(shape, volumes, found):
    with pytest.raises(InputError, match=f"^scan: .*{found}"):
        check_shape("scan", shape, volumes)


def test_shapes_of_volumes_pass():
    check_shape("scan", (64, 64, 64, 1, 1))
    check_shape("scan", (64, 64, 64, 4), volumes=4)


@pytest.mark.parametrize("size", [0.001, 10.0])
def test_a_field_of_view_that_no_head_has_is_refused(size):
    with pytest.raises(InputError, match=r"the field of view is .* a head needs 5 to 600 mm"):
        check_extent("scan", (256, 256, 256), np.diag([1, 1, size, 1]))


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "scan.nii").write_bytes(b"a scan")

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(InputError, match=r"scan\.nii: the file cannot be read \(Permission denied\)"):
        check_header(tmp_path / "scan.nii")


def test_an_ending_that_belies_the_content_is_named(tmp_path):
    image = nib.Nifti1Image(np.ones((9, 9, 9), np.float32), np.eye(4))
    nib.save(image, tmp_path / "scan.nii")
    check_header(tmp_path / "scan.nii")
    (tmp_path / "packed.nii").write_bytes(gzip.compress(image.to_bytes()))
    with pytest.raises(InputError, match=r"The file is compressed: give it a name that ends in \.nii\.gz"):
        check_header(tmp_path / "packed.nii")
    (tmp_path / "short.nii").write_bytes(image.to_bytes()[:-4])
    with pytest.raises(InputError, match=r"short\.nii: the file is truncated"):
        check_header(tmp_path / "short.nii")
