"""The bundle as it ships, with its own weights, on the head scan that ships with it."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
from bundle_runs import run_bundle

from monai_mamba.data.quality import QualityLimits
from monai_mamba.labels import LabelTable

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "subcortical"
SCAN = BUNDLE / "sample_data" / "sub-0001_T1w.nii.gz"
ASEG = BUNDLE / "sample_data" / "sub-0001_desc-aseg_dseg.nii.gz"
WITHOUT_EXAMPLES = {24, 77}


def test_the_sample_is_segmented_near_its_reference(tmp_path):
    options = {"input": str(SCAN), "output_dir": str(tmp_path), "device": "cpu", "progress": False}
    run_bundle([BUNDLE / "configs" / "inference.json"], **options, mirror=False)  # half the time

    found = nib.load(tmp_path / "sub-0001_desc-subcortical_dseg.nii.gz")
    assert np.array_equal(found.affine, nib.load(SCAN).affine)
    labels = np.asarray(found.dataobj)
    reference = np.asarray(nib.load(ASEG).dataobj)
    ids = [entry.id for entry in LabelTable.load("subcortical").structures if entry.id not in WITHOUT_EXAMPLES]
    dice = {i: 2 * np.sum((labels == i) & (reference == i)) / np.sum((labels == i) * 1 + (reference == i)) for i in ids}
    assert min(dice.values()) > 0
    assert np.mean(list(dice.values())) > 0.65

    with (tmp_path / "sub-0001_desc-subcortical_volumes.tsv").open(newline="") as file:
        voxels = {int(row["id"]): int(row["voxels"]) for row in csv.DictReader(file, delimiter="\t")}
    assert all(voxels[i] == np.sum(labels == i) for i in ids)
    limits = QualityLimits.load(BUNDLE / "configs" / "quality.tsv")
    assert limits.rate(tmp_path / "sub-0001_desc-subcortical_volumes.tsv").grade == "pass"
