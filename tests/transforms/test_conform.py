"""The standard grid and gray scale equal those of FreeSurfer and FastSurfer."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_mamba.errors import InputError
from monai_mamba.transforms.conform import Conformd, ScaleIntensityRobustd, conform, robust_range


@pytest.mark.parametrize("name", ["ras_1mm", "oblique_aniso"])
def test_conform_equals_fastsurfer(shared, name):
    source = nib.load(shared / "golden" / "conform" / f"{name}_input.nii.gz")
    expected = nib.load(shared / "golden" / "conform" / f"{name}_conformed.nii.gz")
    conformed, affine = conform(np.asanyarray(source.dataobj), source.affine)
    np.testing.assert_allclose(affine, expected.affine, atol=1e-4)
    difference = np.abs(conformed.astype(int) - np.asanyarray(expected.dataobj).astype(int))
    assert conformed.dtype == np.uint8
    assert (difference <= 1).mean() >= 0.999


def test_the_center_of_the_field_of_view_stays():
    image = np.random.default_rng(0).uniform(1, 100, (20, 31, 24)).astype(np.float32)
    affine = np.array([[0, 0, -1.5, 40], [0.9, 0, 0, -7], [0, 1.1, 0, 3], [0, 0, 0, 1.0]])
    _, conformed_affine = conform(image, affine)
    center = np.array([*np.array(image.shape) / 2, 1])
    np.testing.assert_allclose(conformed_affine @ [128, 128, 128, 1], affine @ center, atol=1e-9)


def test_a_field_of_view_above_256_mm_is_not_cut():
    image = np.zeros((8, 8, 30), dtype=np.uint8)
    image[4, 4, 0], image[4, 4, 29] = 100, 200
    conformed, affine = conform(image, np.diag([10.0, 10, 10, 1]))
    assert conformed.shape == (310, 310, 310)
    for value, z in ((100, 0), (200, 290)):
        voxel = np.linalg.inv(affine) @ [40, 40, z, 1]
        assert conformed[tuple(np.round(voxel[:3]).astype(int))] == value


def test_8_bit_images_keep_their_values_and_others_are_scaled():
    image = np.random.default_rng(0).integers(0, 50, (16, 18, 20), dtype=np.uint8)
    kept, _ = conform(image, np.eye(4))
    scaled, _ = conform(image.astype(np.int16), np.eye(4))
    assert kept.max() == 49
    assert scaled.max() == 255


@pytest.mark.parametrize("shape", [(18, 20, 16), (17, 21, 15)], ids=["even", "odd"])
def test_a_1_mm_image_is_not_interpolated(shape):
    """FreeSurfer's own center would blur odd sizes by half a voxel; the pipeline takes a whole voxel instead."""
    image = np.random.default_rng(0).integers(1, 256, shape).astype(np.float32)
    image[0, 0, 0] = 0
    source = MetaTensor(torch.from_numpy(image)[None], affine=torch.eye(4, dtype=torch.float64))
    result = Conformd("image")({"image": source})["image"]
    back = np.linalg.inv(result.affine.numpy())
    low, high = robust_range(image)
    expected = np.rint(np.clip((image - low) * 255 / (high - low), 0, 255))
    for voxel in np.argwhere(image >= 0)[::37]:
        index = (back @ [*voxel, 1])[:3]
        np.testing.assert_allclose(index, np.rint(index), atol=1e-9)
        assert result[0][tuple(np.rint(index).astype(int))] == expected[tuple(voxel)]


def test_the_part_with_a_margin_is_all_of_the_cube_that_is_not_0():
    image = np.random.default_rng(0).uniform(1, 100, (20, 31, 24)).astype(np.float32)
    affine = np.array([[0, 0, -1.5, 40], [0.9, 0, 0, -7], [0, 1.1, 0, 3], [0, 0, 0, 1.0]])
    (cube, cube_affine), (part, part_affine) = (conform(image, affine, margin=margin) for margin in (None, 8))
    start = np.rint(np.linalg.inv(cube_affine) @ part_affine[:, 3]).astype(int)[:3]
    box = tuple(slice(first, first + size) for first, size in zip(start, part.shape, strict=True))
    np.testing.assert_array_equal(cube[box], part)
    assert np.count_nonzero(cube) == np.count_nonzero(part[8:-8, 8:-8, 8:-8]) > 0


def test_an_image_that_vanishes_between_the_voxels_is_refused():
    image = torch.zeros(1, 60, 60, 60)
    image[0, 31, 31, 31] = 1  # of 0.1 mm, beside every voxel of the 1 mm grid
    source = MetaTensor(image, affine=torch.diag(torch.tensor([0.1, 0.1, 0.1, 1], dtype=torch.float64)))
    with pytest.raises(InputError, match="no contrast is left at 1 mm"):
        Conformd("image")({"image": source})


def test_the_gray_scale_ends_near_the_brightest_thousandth():
    data = np.zeros(200_000, dtype=np.float32)
    data[:100_000] = np.random.default_rng(0).uniform(0, 1000, 100_000)
    low, high = robust_range(data)
    assert low == 0
    # Two bins of 1 below the bin that holds the quantile.
    assert high == pytest.approx(np.quantile(data[:100_000], 0.999), abs=4)


def test_hot_voxels_do_not_spoil_the_gray_scale():
    data = np.random.default_rng(0).uniform(0, 1000, (40, 40, 40)).astype(np.float32)
    data[3, 4, 5] = 1e7
    low, high = robust_range(data)
    assert (low, high) == (data.min(), pytest.approx(999, abs=2))


def test_scaled_intensities_are_between_0_and_1():
    data = torch.from_numpy(np.random.default_rng(0).gamma(2, 50, (1, 30, 30, 30)).astype(np.float32))
    scaled = ScaleIntensityRobustd("image")({"image": MetaTensor(data)})["image"]
    assert scaled.dtype == torch.float32
    assert scaled.min() == 0
    assert (scaled == 1).float().mean() == pytest.approx(0.001, abs=0.0005)
    torch.testing.assert_close(scaled * 255, (scaled * 255).round(), atol=1e-4, rtol=0)
