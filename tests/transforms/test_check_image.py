"""Headers that put left and right in doubt."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import EnsureChannelFirst, LoadImage

from monai_mamba.errors import InputError
from monai_mamba.transforms import CheckImaged

SHAPE = (10, 12, 14)
LEFT, RIGHT = np.diag([-12.0, 12, 12, 1]), np.diag([12.0, 12, 12, 1])  # where the first axis runs to; 120 mm and more


def check(path: Path) -> MetaTensor:
    image = EnsureChannelFirst()(LoadImage(reader="NibabelReader")(path))
    return CheckImaged("image")({"image": image})["image"]


@pytest.mark.parametrize(
    ("sform", "qform", "warned"),
    [(RIGHT, RIGHT, False), (LEFT, LEFT, False), (RIGHT, LEFT, True), (LEFT, RIGHT, True), (RIGHT, None, False)],
)
def test_a_qform_that_mirrors_the_sform_is_warned_of(tmp_path, caplog, sform, qform, warned):
    image = nib.Nifti1Image(np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE), sform)
    image.set_sform(sform, code=1)
    image.set_qform(qform, code=0 if qform is None else 1)
    nib.save(image, tmp_path / "scan.nii")
    with caplog.at_level(logging.WARNING, "monai_mamba"):
        checked = check(tmp_path / "scan.nii")
    np.testing.assert_array_equal(checked.affine.numpy(), sform)
    assert ("disagree about left and right" in caplog.text) == warned
    assert bool(caplog.records) == warned


@pytest.mark.parametrize("spacing", [0.1, 100.0])
def test_a_field_of_view_that_no_head_has_is_refused(spacing):
    image = MetaTensor(torch.rand(1, *SHAPE), affine=torch.diag(torch.tensor([spacing, 1, 1, 1], dtype=torch.float64)))
    with pytest.raises(InputError, match=rf"field of view of {spacing * SHAPE[0]:g} x 12 x 14 mm; expected a head"):
        CheckImaged("image")({"image": image})
