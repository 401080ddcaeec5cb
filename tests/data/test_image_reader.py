"""The reader for MONAI: what it adds to the meta data."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import LoadImage

from monai_mamba.data import VerifyingNibabelReader
from monai_mamba.data.image_file import checksum_of
from monai_mamba.errors import InputError

LOAD = LoadImage(reader=VerifyingNibabelReader, ensure_channel_first=True)


def test_meta_data_know_checksum_scale_and_contradictions(tmp_path):
    path = tmp_path / "scan.nii"
    image = nib.Nifti1Image(np.arange(9**3, dtype=np.int16).reshape(9, 9, 9), np.eye(4))
    image.header.set_slope_inter(0.25, 0)
    nib.save(image, path)
    loaded = LOAD(path)
    assert loaded.shape == (1, 9, 9, 9)
    assert loaded.meta["checksum"] == checksum_of(path.read_bytes())
    assert loaded.meta["scl_slope"] == 0.25
    assert loaded.meta["geometry_warning"] == ""


def test_errors_of_the_reader_are_not_hidden(tmp_path):
    image = nib.Nifti1Image(np.zeros((9, 9, 9), np.uint8), np.eye(4))
    (tmp_path / "scan.nii").write_bytes(image.to_bytes()[:-1])
    with pytest.raises(InputError, match=r"scan\.nii: the file is truncated"):
        LOAD(tmp_path / "scan.nii")
