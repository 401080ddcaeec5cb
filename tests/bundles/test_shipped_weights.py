"""The bundles as they ship, with their own weights, on the scans that ship with them."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bundle_runs import run_bundle

from monai_mamba.data.quality import QualityLimits
from monai_mamba.labels import LabelTable, RegionTable

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
SAMPLE = BUNDLES / "subcortical" / "sample_data"
WITHOUT_EXAMPLES = {24, 77}


def run(bundle: str, output_dir: Path, **options: object) -> QualityLimits:
    """Run the inference of a bundle on its sample; returns the limits that its results are graded by."""
    configs = BUNDLES / bundle / "configs"
    options = {"output_dir": str(output_dir), "device": "cpu", "progress": False, "strict": True, **options}
    run_bundle([configs / "inference.json"], **options)
    return QualityLimits.load(configs / "quality.tsv")


@pytest.fixture(scope="module")
def reference() -> nib.Nifti1Image:
    """FreeSurfer's labels of the sample head."""
    return nib.load(SAMPLE / "sub-0001_desc-aseg_dseg.nii.gz")


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> Path:
    """Folder with the subcortical labels of the sample, found without the mirrored head, in half the time."""
    folder = tmp_path_factory.mktemp("head")
    limits = run("subcortical", folder, mirror=False)
    assert limits.rate(folder / "sub-0001_desc-subcortical_volumes.tsv").grade == "pass"
    return folder


def test_the_sample_is_segmented_near_its_reference(head, reference):
    found = nib.load(head / "sub-0001_desc-subcortical_dseg.nii.gz")
    assert np.array_equal(found.affine, reference.affine)
    labels, expected = np.asarray(found.dataobj), np.asarray(reference.dataobj)
    ids = [entry.id for entry in LabelTable.load("subcortical").structures if entry.id not in WITHOUT_EXAMPLES]
    dice = {i: 2 * np.sum((labels == i) & (expected == i)) / np.sum((labels == i) * 1 + (expected == i)) for i in ids}
    assert min(dice.values()) > 0
    assert np.mean(list(dice.values())) > 0.65

    with (head / "sub-0001_desc-subcortical_volumes.tsv").open(newline="") as file:
        voxels = {int(row["id"]): int(row["voxels"]) for row in csv.DictReader(file, delimiter="\t")}
    assert all(voxels[i] == np.sum(labels == i) for i in ids)


def test_the_parts_of_the_hippocampi_lie_in_the_outline_that_the_first_bundle_finds(head, reference, tmp_path):
    """The first network of the bundle is that of the subcortical one (see `test_hippocampal_inference`)."""
    limits = run("hippocampal_subfields", tmp_path, aseg=str(head))
    found = np.asarray(nib.load(tmp_path / "sub-0001_desc-hippocampus_dseg.nii.gz").dataobj)
    aseg, affine = np.asarray(reference.dataobj), reference.affine
    overlaps = []
    for whole, anterior, posterior in ((17, 1701, 1702), (53, 5301, 5302)):
        parts = np.isin(found, (anterior, posterior))
        overlaps.append(2 * np.sum(parts & (aseg == whole)) / (parts.sum() + np.sum(aseg == whole)))
        assert overlaps[-1] > 0.85
        assert 2000 < parts.sum() < 6000  # voxels of 1 mm3
        front, back = (np.argwhere(found == part).mean(axis=0) for part in (anterior, posterior))
        assert (affine[:3, :3] @ (front - back))[1] > 10  # mm towards the front
    assert limits.rate(tmp_path / "sub-0001_desc-hippocampus_volumes.tsv").grade == "pass"
    assert np.mean(overlaps) > 0.872  # of FreeSurfer's hippocampi, both sides


def test_the_tumor_that_ships_is_found(tmp_path):
    run("brats_multimodal", tmp_path)
    (result,) = tmp_path.rglob("*_dseg.nii.gz")
    (expected,) = (BUNDLES / "brats_multimodal" / "sample_data").rglob("*-seg.nii.gz")
    table = RegionTable.load("brats2023")
    regions = (table.to_regions(np.asarray(nib.load(path).dataobj)) for path in (result, expected))
    for name, least, a, b in zip(table.names, (0.5, 0.7, 0.3), *regions, strict=True):
        assert 2 * np.sum(a & b) / (a.sum() + b.sum()) > least, name
