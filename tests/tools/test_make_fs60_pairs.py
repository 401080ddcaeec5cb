"""FreeSurfer's subfields of both sides become label maps that the bundle trains on."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_mamba.data.pairs import find_pairs
from monai_mamba.labels import LabelTable

TOOL = Path(__file__).resolve().parents[2] / "tools" / "make_fs60_pairs.py"
FS60 = (203, 204, 205, 206, 208, 209, 210, 211, 212, 214, 215, 226)
HEAD_AND_BODY = (203, *range(233, 247), 211, 212, 215, 226)
AFFINE = np.array([[-1, 0, 0, 20], [0, 0, 1, -25], [0, -1, 0, 18], [0, 0, 0, 1.0]])  # of a conformed volume


@pytest.fixture
def call(monkeypatch):
    monkeypatch.syspath_prepend(TOOL.parent)
    import make_fs60_pairs

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
        return make_fs60_pairs.main()

    return run


def save_subject(mri: Path, kind: str, ids: tuple[int, ...], fine: bool = False) -> None:
    """A scan, and on each side a sheet of 12 x 25 voxels for each id."""
    mri.mkdir(parents=True)
    shape = (40, 36, 40)
    image = np.random.default_rng(0).integers(0, 200, shape).astype(np.uint8)
    nib.save(nib.MGHImage(image, AFFINE), mri / "orig.mgz")
    for side, start in (("lh", 2), ("rh", 21)):
        label = np.zeros(shape, np.int32)
        for number, value in enumerate(ids):
            label[start + number % 18, 4 + 14 * (number // 18) : 16 + 14 * (number // 18), 5:30] = value
        affine = AFFINE
        if fine:
            label, affine = label.repeat(3, 0).repeat(3, 1).repeat(3, 2), AFFINE @ np.diag([1 / 3, 1 / 3, 1 / 3, 1])
            affine[:3, 3] -= AFFINE[:3, :3] @ np.full(3, 1 / 3)
        nib.save(nib.MGHImage(label, affine), mri / f"{side}.{kind}.mgz")


@pytest.mark.parametrize(
    ("kind", "ids", "fine"),
    [
        ("hippoAmygLabels-T1.v21.FSvoxelSpace", (*HEAD_AND_BODY, 7001, 7015), False),
        ("hippoAmygLabels-T1.v22.FS60.FSvoxelSpace", FS60, False),
        ("hippoSfLabels-T1.v10", FS60, True),
    ],
)
def test_both_sides_become_the_classes_of_the_scheme(call, tmp_path, kind, ids, fine):
    save_subject(tmp_path / "subjects" / "sub-1" / "mri", kind, ids, fine)
    (tmp_path / "subjects" / "fsaverage" / "mri").mkdir(parents=True)
    assert call("--subjects_dir", tmp_path / "subjects", "--output_dir", tmp_path / "pairs") == 0
    (pair,) = find_pairs(tmp_path / "pairs")
    assert pair["subject"] == "sub-1"
    label, image = nib.load(pair["label"]), nib.load(pair["image"])
    found = np.asarray(label.dataobj)
    assert set(np.unique(found)) == set(LabelTable.load("hippocampus_fs60").ids)
    assert (found[:20] // 1000 <= 1).all()
    assert (found[21:] // 1000 != 1).all()
    source = np.asarray(nib.load(tmp_path / "subjects" / "sub-1" / "mri" / "orig.mgz").dataobj)
    assert np.array_equal(np.asarray(image.dataobj), source)
    assert np.allclose(image.affine, AFFINE)
    heads = 2 if 234 in ids else 1  # presubiculum as one part, or as head and body
    for value in (1204, 2204):
        assert (found == value).sum() == 12 * 25 * heads


def test_what_cannot_be_used_is_refused(call, tmp_path, capsys):
    mri = tmp_path / "subjects" / "sub-1" / "mri"
    arguments = "--subjects_dir", tmp_path / "subjects", "--output_dir", tmp_path / "pairs"
    (tmp_path / "subjects").mkdir()
    assert call(*arguments) == 1
    assert "no subject with hippocampal subfields" in capsys.readouterr().err
    save_subject(mri, "hippoAmygLabels-T1.v21.FSvoxelSpace", (231, 232))
    assert call(*arguments) == 1
    assert "[231, 232] are not ids of hippocampal subfields" in capsys.readouterr().err
    (mri / "rh.hippoAmygLabels-T1.v21.FSvoxelSpace.mgz").unlink()
    assert call(*arguments) == 1
    assert "subfields of one side only" in capsys.readouterr().err
