"""The documented conversion of the labels of the CIT168 atlas to FreeSurfer ids, on a made-up and the real atlas."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_mamba.labels import LabelTable

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "subcortical-accuracy.md"
STRUCTURES = {
    "Putamen": "Putamen",
    "Caudate": "Caudate",
    "Nucleus Accumbens": "Accumbens-area",
    "Globus Pallidus externa": "Pallidum",
    "Globus Pallidus interna": "Pallidum",
    "Red Nucleus": None,
}
LABELS, NAMES = "CIT168_subcortical_labels.nii.gz", "labels.json"


def convert(folder: Path, monkeypatch: pytest.MonkeyPatch) -> nib.Nifti1Image:
    """Run what the document says in a folder; the label map."""
    (snippet,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(folder)
    (folder / "pairs").mkdir()
    exec(snippet, {})
    return nib.load(folder / "pairs" / "CIT168_desc-aseg_dseg.nii.gz")


def test_nuclei_get_the_ids_of_their_structures_and_sides(tmp_path, monkeypatch):
    ids = {entry.name: entry.id for entry in LabelTable.load("subcortical")} | {"Left-None": 0, "Right-None": 0}
    names, expected = {0: "Unknown"}, [0]
    for nucleus, structure in STRUCTURES.items():
        for side in ("Left", "Right"):
            names[len(names)] = f"{side[0]} {nucleus}"
            expected.append(ids[f"{side}-{structure}"])
    labels = np.arange(13, dtype=np.uint8).reshape(1, 1, 13)
    nib.save(nib.Nifti1Image(labels, np.diag([-2.0, 1.0, 1.0, 1.0])), tmp_path / LABELS)
    (tmp_path / NAMES).write_text(json.dumps(names))
    found = convert(tmp_path, monkeypatch)
    assert np.asarray(found.dataobj).ravel().tolist() == expected
    np.testing.assert_array_equal(found.affine, np.diag([-2.0, 1.0, 1.0, 1.0]))


def test_the_real_atlas_has_its_left_on_the_left(shared, tmp_path, monkeypatch):
    for name in (LABELS, NAMES):
        (tmp_path / name).symlink_to(shared / "data" / "template_cit168" / name)
    image = convert(tmp_path, monkeypatch)
    labels = np.asarray(image.dataobj)
    for left, right in ((11, 50), (12, 51), (13, 52), (26, 58)):
        points = [nib.affines.apply_affine(image.affine, np.argwhere(labels == label)) for label in (left, right)]
        assert points[0][:, 0].max() < 3  # mm; the midline of MNI space is at 0
        assert points[1][:, 0].min() > -3
        assert len(points[0]) == pytest.approx(len(points[1]), rel=0.2)
