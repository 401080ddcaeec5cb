"""Headers that agree with themselves, and label maps whose headers do not; scans: `malformed/test_headers.py`."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from head_phantom import centered_affine, make_head
from odd_headers import AFFINE, MIRRORED, SHAPE, head, turned

from monai_mamba.data.geometry import check_geometry
from monai_mamba.data.pairs import find_pairs
from monai_mamba.errors import InputError


def test_headers_without_contradiction_are_not_warned_of(tmp_path):
    oblique = turned(30) @ centered_affine(SHAPE, np.diag([-0.9375, 1.2, 0.94]))
    for number, (sform, qform) in enumerate([(AFFINE, None), (None, AFFINE), (oblique, oblique), (MIRRORED, MIRRORED)]):
        image = nib.Nifti1Image(make_head(SHAPE, AFFINE)[0], AFFINE)
        image.set_sform(sform, code=0 if sform is None else 1)
        image.set_qform(qform, code=0 if qform is None else 1)
        nib.save(image, tmp_path / f"{number}.nii.gz")
        loaded = nib.load(tmp_path / f"{number}.nii.gz")
        assert check_geometry("s.nii", loaded) == ""


def test_a_label_map_that_contradicts_itself_stops_a_training(tmp_path):
    head(tmp_path / "sub-1_T1w.nii")
    head(tmp_path / "sub-1_desc-aseg_dseg.nii", qform=MIRRORED)
    with pytest.raises(InputError, match=r"dseg\.nii: sform and qform of the header disagree about left and right"):
        find_pairs(tmp_path)
