"""The hippocampal bundle as it ships, with its own weights, on the head scan that ships with the first bundle."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from bundle_runs import run_bundle

from monai_mamba.data.quality import QualityLimits

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
SAMPLE = BUNDLES / "subcortical" / "sample_data"
CONFIG = BUNDLES / "hippocampal_subfields" / "configs" / "inference.json"


def test_the_parts_of_the_sample_lie_in_its_hippocampi(tmp_path):
    run_bundle([CONFIG], output_dir=str(tmp_path), device="cpu", progress=False, strict=True)
    found = np.asarray(nib.load(tmp_path / "sub-0001_desc-hippocampus_dseg.nii.gz").dataobj)
    reference = nib.load(SAMPLE / "sub-0001_desc-aseg_dseg.nii.gz")
    aseg, affine = np.asarray(reference.dataobj), reference.affine
    overlaps = []
    for whole, anterior, posterior in ((17, 1701, 1702), (53, 5301, 5302)):
        parts = np.isin(found, (anterior, posterior))
        overlaps.append(2 * np.sum(parts & (aseg == whole)) / (parts.sum() + np.sum(aseg == whole)))
        assert overlaps[-1] > 0.85
        assert 2000 < parts.sum() < 6000  # voxels of 1 mm3
        front, back = (np.argwhere(found == part).mean(axis=0) for part in (anterior, posterior))
        assert (affine[:3, :3] @ (front - back))[1] > 10  # mm towards the front
    limits = QualityLimits.load(CONFIG.parent / "quality.tsv")
    assert limits.rate(tmp_path / "sub-0001_desc-hippocampus_volumes.tsv").grade == "pass"
    assert np.mean(overlaps) > 0.872  # of FreeSurfer's hippocampi, both sides
