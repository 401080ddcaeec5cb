"""The table of volumes of a brain tumor case."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor

from monai_mamba.files import read_tsv
from monai_mamba.handlers import TumorResultSaver


def test_volumes_are_those_of_regions_and_of_labels(tmp_path):
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    labels = np.zeros((10, 11, 12), np.uint8)
    labels[:3], labels[3:5], labels[5] = 2, 1, 3  # edema, necrotic core, enhancing tumor
    nib.save(nib.Nifti1Image(np.ones(labels.shape, np.float32), affine), tmp_path / "scan.nii")
    meta = {"filename_or_obj": str(tmp_path / "scan.nii"), "modalities": "FLAIR+T2", "doubts": ""}
    prediction = MetaTensor(torch.from_numpy(labels)[None], meta=meta)
    TumorResultSaver("brats2023").save(prediction, str(tmp_path / "x"))
    rows = {row["name"]: row for row in read_tsv(tmp_path / "x_volumes.tsv")}
    slab = 11 * 12
    for region, ids, slabs in (("WT", "1+2+3", 6), ("TC", "1+3", 3), ("ET", "3", 1)):
        (row,) = (row for name, row in rows.items() if name.endswith(f"({region})"))
        assert (row["labels"], row["voxels"], row["mm3"]) == (ids, str(slabs * slab), f"{2.0 * slabs * slab:.1f}")
    assert len(rows) == 6
    assert {row["modalities"] for row in rows.values()} == {"FLAIR+T2"}
    assert {row["doubts"] for row in rows.values()} == {"n/a"}
