"""The average head, stretched, turned and moved, is estimated right; where it is cut or bare, nothing is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation

from monai_mamba.errors import InputError
from monai_mamba.grids import Grid, sample_linearly
from monai_mamba.transforms import IntracranialVolumed
from monai_mamba.transforms.intracranial import AverageHead, intracranial_volume

CORTEX = 3
SHAPE, MM = (70, 80, 70), 3.0
GRID = np.array([[-MM, 0, 0, 100], [0, 0, MM, -120], [0, -MM, 0, 110], [0, 0, 0, 1.0]])  # LIA


def head(stretch: tuple[float, float, float] = (1.1, 1.0, 0.95)) -> tuple[np.ndarray, np.ndarray, float]:
    """Image and labels on `GRID`, and intracranial volume of an average head that was stretched, turned and moved."""
    average = AverageHead.load()
    move = np.eye(4)
    move[:3, :3] = Rotation.from_euler("xyz", (10, -8, 6), degrees=True).as_matrix() @ np.diag(stretch)
    move[:3, 3] = (5, -4, 6)
    back, box = np.linalg.inv(move @ average.affine) @ GRID, tuple(slice(0, size) for size in SHAPE)
    image, inside = (sample_linearly(volume, back, box) for volume in (average.image, average.inside))
    labels = np.where(inside > 0.7, CORTEX, 0).astype(np.uint8)
    for label, center in average.centers.items():
        x, y, z = np.rint(np.linalg.inv(GRID) @ move @ [*center, 1])[:3].astype(int)
        labels[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2] = label
    return image / image.max(), labels, average.volume * float(np.prod(stretch))


def estimate(image: np.ndarray, labels: np.ndarray, affine: np.ndarray = GRID) -> float:
    return intracranial_volume(image, affine, labels, Grid("scan", affine, labels.shape))


@pytest.mark.parametrize("stretch", [(1.1, 1.0, 0.95), (0.92, 0.95, 0.9)])
def test_a_known_volume_is_found(stretch):
    image, labels, volume = head(stretch)
    assert estimate(image, labels) == pytest.approx(volume, rel=0.02)


def test_what_cannot_be_known_is_not_estimated():
    image, labels, _ = head()
    with pytest.raises(InputError, match="of what surrounds the brain is dark"):
        estimate(np.where(labels > 0, image, 0), labels)
    with pytest.raises(InputError, match="of the inside of the skull is outside the field of view"):
        estimate(image[:, 30:], labels[:, 30:], GRID + 30 * np.outer(GRID[:, 1], [0, 0, 0, 1]))
    with pytest.raises(InputError, match="1 of 26 structures were found"):
        estimate(image, np.where(labels == 10, labels, 0))
    with pytest.raises(InputError, match=r"which a brain of .* contradicts"):
        estimate(image, np.where(labels == CORTEX, 0, labels))


def test_an_unknown_volume_is_nan_and_said(caplog):
    image, labels, _ = head()
    meta = {"filename_or_obj": "scan.nii", "original_affine": GRID, "spatial_shape": SHAPE}
    prediction = MetaTensor(torch.from_numpy(np.where(labels == 10, labels, 0))[None], meta=meta)
    item = {"image": MetaTensor(torch.from_numpy(image)[None], affine=torch.from_numpy(GRID)), "pred": prediction}
    assert np.isnan(IntracranialVolumed("pred")(item)["pred"].meta["intracranial_mm3"])
    assert "scan.nii: the intracranial volume is unknown: 1 of 26 structures were found." in caplog.text
