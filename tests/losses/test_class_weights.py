"""Class weights from the volumes of classes."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from monai_mamba.labels import LabelTable
from monai_mamba.losses.class_weights import class_weights


def test_class_weights_fall_with_the_volume(tmp_path):
    table = LabelTable.load("subcortical")
    labels = np.zeros((10, 10, 10), dtype=np.uint8)
    labels[:5] = 2  # 500 voxels
    labels[5, :, :5] = 17  # 50 voxels
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "labels.nii.gz")
    weights = class_weights([{"label": str(tmp_path / "labels.nii.gz")}], table, power=0.5)
    white_matter, hippocampus = weights[table.index_of_id[2]].item(), weights[table.index_of_id[17]].item()
    assert hippocampus / white_matter == pytest.approx(10**0.5, rel=1e-5)
    assert (weights[0].item() + white_matter + hippocampus) / 3 == pytest.approx(1.0, rel=1e-5)
    assert weights[table.index_of_id[53]].item() == 1.0
