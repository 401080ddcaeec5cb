"""Images that no head scan can be."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_mamba.errors import InputError
from monai_mamba.transforms import CheckImaged

SHAPE = (10, 12, 14)


@pytest.mark.parametrize("spacing", [0.1, 100.0])
def test_a_field_of_view_that_no_head_has_is_refused(spacing):
    image = MetaTensor(torch.rand(1, *SHAPE), affine=torch.diag(torch.tensor([spacing, 1, 1, 1], dtype=torch.float64)))
    with pytest.raises(InputError, match=rf"field of view is {spacing * SHAPE[0]:g} x 12 x 14 mm; a head needs"):
        CheckImaged("image")({"image": image})


def image_of(*values: float) -> MetaTensor:
    """A head of gray values 1 to 1000 in a background of 0, whose first voxels have some values."""
    image = torch.zeros(1, 20, 20, 20)
    image[:, 5:15, 5:15, 5:15] = torch.arange(1.0, 1001.0).reshape(10, 10, 10)
    image.view(-1)[: len(values)] = torch.tensor(values)
    return MetaTensor(image, meta={"filename_or_obj": "scan.nii"})


@pytest.mark.parametrize("values", [[-1e9], [-32768.0] * 70])
def test_a_few_voxels_far_below_all_others_are_clipped(values, caplog):
    found = CheckImaged("image")({"image": image_of(*values)})["image"]
    assert torch.equal(found.as_tensor(), image_of().as_tensor())
    expected = f"scan.nii: {len(values)} voxels are far below all others, down to {values[0]:g}; they are set to 0."
    assert expected in caplog.text


def test_a_background_far_below_all_others_is_clipped(caplog):
    """A third of the gray values are those of the head, and else the head would have a few of them only."""
    head = image_of()
    found = CheckImaged("image")({"image": head.masked_fill(head == 0, -2000.0)})["image"]
    assert torch.equal(found.as_tensor(), head.as_tensor().clamp(min=1.0))
    assert "scan.nii: 7000 voxels are far below all others, down to -2000; they are set to 1." in caplog.text


def test_a_background_of_0_stays():
    """By which the tumor bundle knows the brain."""
    brain = image_of() + 2000.0 * (image_of() > 0)
    assert torch.equal(CheckImaged("image")({"image": brain})["image"].as_tensor(), brain.as_tensor())


@pytest.mark.parametrize("values", [[32767.0] * 70, [-32768.0, -32767.0] * 2000])
def test_other_gray_values_stay_as_they_are(values):
    """Bright voxels may be a lesion, and many are no outliers."""
    found = CheckImaged("image")({"image": image_of(*values)})["image"]
    assert torch.equal(found.as_tensor(), image_of(*values).as_tensor())


def test_a_mask_is_no_image():
    with pytest.raises(InputError, match=r"scan.nii: every voxel is 0 or 1; expected an image, not a mask"):
        CheckImaged("image")({"image": image_of().clamp(max=1)})
