"""The picture to check: left on the left, slices that tell, and no spoilt gray scale."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread

from monai_mamba.labels import LabelTable
from monai_mamba.picture import OPACITY, draw_labels

TABLE = LabelTable.load("subcortical")
THALAMUS, PUTAMEN = 10, 12  # green and magenta: each is found in the picture by its color


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LIA", "PSR"])
def test_the_left_of_the_patient_is_left_in_the_picture(tmp_path, codes):
    labels = np.zeros((40, 44, 42), dtype=np.uint8)
    labels[4:14, 18:28, 26:36] = THALAMUS  # left and high, in RAS
    labels[26:36, 18:28, 6:16] = PUTAMEN  # right and low
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes))
    affine = np.eye(4) @ nib.orientations.inv_ornt_aff(turn, labels.shape)
    source = nib.Nifti1Image(np.full(nib.apply_orientation(labels, turn).shape, 50, dtype=np.uint8), affine)
    draw_labels(tmp_path / "picture.png", source, nib.apply_orientation(labels, turn), TABLE)
    picture = imread(tmp_path / "picture.png")[..., :3]
    picture = picture[picture.shape[0] // 2 :]  # the row with labels
    green = np.argwhere(picture[..., 1] - picture[..., 0] > 0.15)
    magenta = np.argwhere(picture[..., 0] - picture[..., 1] > 0.15)
    thirds = picture.shape[1] // 3
    for column in (1, 2):  # coronal and axial
        one, other = (
            found[(found[:, 1] >= column * thirds) & (found[:, 1] < (column + 1) * thirds)]
            for found in (green, magenta)
        )
        if len(one) and len(other):
            assert one[:, 1].max() < other[:, 1].min()
        if column == 1:
            assert len(one) > 500
            assert len(other) > 500
            assert one[:, 0].max() < other[:, 0].min()  # high is up


def test_the_picture_shows_most_structures(tmp_path):
    """A large structure at one end does not draw the slices away from two small ones."""
    labels = np.zeros((30, 30, 30), dtype=np.uint8)
    labels[2:12, 2:28, 2:28] = THALAMUS
    labels[20:24, 6:12, 10:20], labels[20:24, 18:24, 10:20] = PUTAMEN, 17
    draw_labels(tmp_path / "picture.png", nib.Nifti1Image(np.ones((30, 30, 30), np.float32), np.eye(4)), labels, TABLE)
    picture = imread(tmp_path / "picture.png")[..., :3]
    sagittal = picture[:, : picture.shape[1] // 3].reshape(-1, 3)
    colors = {entry.id: np.array(entry.color[:3]) / 255 for entry in TABLE.structures}
    seen = {
        structure: np.sum(np.abs(sagittal - (OPACITY * colors[structure] + (1 - OPACITY))).max(axis=1) < 0.02)
        for structure in (THALAMUS, PUTAMEN, 17)
    }
    assert seen[PUTAMEN] > 100
    assert seen[17] > 100
    assert seen[THALAMUS] == 0


def test_a_voxel_that_is_not_finite_does_not_spoil_the_picture(tmp_path):
    labels = np.zeros((12, 14, 16), dtype=np.uint8)
    pictures = []
    for bad in (0.0, np.nan, np.inf, -np.inf):
        data = np.random.default_rng(0).uniform(1, 100, labels.shape).astype(np.float32)
        data[6, 7, 8] = bad  # in all three slices
        draw_labels(tmp_path / "picture.png", nib.Nifti1Image(data, np.eye(4)), labels, TABLE)
        pictures.append(imread(tmp_path / "picture.png"))
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])
