"""The bundle as it ships, with its own weights, on the head scan that ships with it."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
from bundle_runs import run_bundle
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from monai_mamba.labels import LabelTable

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "subcortical"
SCAN = BUNDLE / "sample_data" / "sub-0001_T1w.nii.gz"
ASEG = BUNDLE / "sample_data" / "sub-0001_desc-aseg_dseg.nii.gz"
WITHOUT_EXAMPLES = {24, 77}


def turned(image: nib.Nifti1Image, axcodes: str) -> nib.Nifti1Image:
    return image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(axcodes)))


def test_the_sample_is_segmented_alike_in_two_orientations_and_near_its_reference(tmp_path):
    (tmp_path / "in").mkdir()
    scan = nib.load(SCAN)
    nib.save(scan, tmp_path / "in" / "a_T1w.nii.gz")
    nib.save(turned(scan, "PSL"), tmp_path / "in" / "b_T1w.nii.gz")
    options = {"input": str(tmp_path / "in"), "output_dir": str(tmp_path / "out"), "device": "cpu", "progress": False}
    run_bundle([BUNDLE / "configs" / "inference.json"], **options, mirror=False)  # half the time

    first, second = (nib.load(tmp_path / "out" / f"{name}_desc-subcortical_dseg.nii.gz") for name in "ab")
    assert np.array_equal(first.affine, scan.affine)
    labels = np.asarray(first.dataobj)
    assert np.array_equal(np.asarray(turned(second, "RAS").dataobj), labels)

    reference = np.asarray(nib.load(ASEG).dataobj)
    ids = [entry.id for entry in LabelTable.load("subcortical").structures if entry.id not in WITHOUT_EXAMPLES]
    dice = {i: 2 * np.sum((labels == i) & (reference == i)) / np.sum((labels == i) * 1 + (reference == i)) for i in ids}
    assert min(dice.values()) > 0
    assert np.mean(list(dice.values())) > 0.65

    with (tmp_path / "out" / "a_desc-subcortical_volumes.tsv").open(newline="") as file:
        voxels = {int(row["id"]): int(row["voxels"]) for row in csv.DictReader(file, delimiter="\t")}
    assert all(voxels[i] == np.sum(labels == i) for i in ids)
    with (tmp_path / "out" / "cases.tsv").open(newline="") as file:
        assert [row["quality"] for row in csv.DictReader(file, delimiter="\t")] == ["pass", "pass"]
