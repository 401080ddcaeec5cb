"""The labels of the CIT168 atlas as FreeSurfer ids, on a made-up atlas and on the real one."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_mamba.data.pairs import find_pairs

TOOL = Path(__file__).resolve().parents[2] / "tools" / "cit168_reference.py"
NUCLEI = [
    "Putamen",
    "Caudate",
    "Nucleus Accumbens",
    "Globus Pallidus externa",
    "Globus Pallidus interna",
    "Red Nucleus",
]
NAMES = {
    0: "Unknown",
    **{2 * row + side: f"{'LR'[side - 1]} {name}" for row, name in enumerate(NUCLEI) for side in (1, 2)},
}
EXPECTED = {1: 12, 2: 51, 3: 11, 4: 50, 5: 26, 6: 58, 7: 13, 8: 52, 9: 13, 10: 52, 11: 0, 12: 0}  # FreeSurfer's ids


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command in this process; gives its exit status and what it printed."""
    monkeypatch.syspath_prepend(TOOL.parent)
    tool = importlib.import_module(TOOL.stem)

    def command(labels: Path, names: Path, output_dir: Path) -> tuple[int, str]:
        options = {"--labels": labels, "--names": names, "--output_dir": output_dir}
        monkeypatch.setattr(sys, "argv", [str(TOOL), *(str(word) for pair in options.items() for word in pair)])
        status = tool.main()
        captured = capsys.readouterr()
        return status, captured.err if status else captured.out

    return command


@pytest.fixture
def atlas(tmp_path) -> tuple[Path, Path]:
    """A label map in which each nucleus is a layer of 100 voxels of 2 mm3, and the names."""
    labels = np.zeros((10, 10, 14), dtype=np.uint8)
    labels[..., 1:13] = np.arange(1, 13)
    nib.save(nib.Nifti1Image(labels, np.diag([-2.0, 1.0, 1.0, 1.0])), tmp_path / "labels.nii.gz")
    (tmp_path / "labels.json").write_text(json.dumps(NAMES))
    return tmp_path / "labels.nii.gz", tmp_path / "labels.json"


def test_nuclei_get_the_ids_of_their_structures_and_sides(run, atlas, tmp_path):
    status, printed = run(*atlas, tmp_path / "pairs")
    assert status == 0
    assert "13 Left-Pallidum: 400 mm3" in printed.splitlines()
    assert "58 Right-Accumbens-area: 200 mm3" in printed.splitlines()
    found, source = nib.load(tmp_path / "pairs" / "CIT168_desc-aseg_dseg.nii.gz"), nib.load(atlas[0])
    lookup = np.array([0, *EXPECTED.values()])
    np.testing.assert_array_equal(found.dataobj, lookup[np.asarray(source.dataobj)])
    np.testing.assert_array_equal(found.affine, source.affine)
    nib.save(nib.Nifti1Image(np.zeros(found.shape, np.uint8), source.affine), tmp_path / "pairs" / "CIT168_T1w.nii.gz")
    assert [pair["subject"] for pair in find_pairs(tmp_path / "pairs")] == ["CIT168"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (None, "expected a JSON object of labels and names"),
        ([], "expected a JSON object of labels and names"),
        ({1: "L Putamen"}, "it has no label for L Caudate, L Nucleus Accumbens"),
        ({**NAMES, 99: "L Caudate"}, "it has no voxel of Left-Caudate"),
    ],
)
def test_names_that_do_not_fit_are_refused(run, atlas, tmp_path, names, message):
    if names is None:
        atlas[1].unlink()
    else:
        atlas[1].write_text(json.dumps(names))
    status, printed = run(*atlas, tmp_path / "pairs")
    assert status == 1
    assert message in printed
    assert not (tmp_path / "pairs").exists()


def test_the_real_atlas_has_its_left_on_the_left(run, shared, tmp_path):
    folder = shared / "data" / "template_cit168"
    status, _ = run(folder / "CIT168_subcortical_labels.nii.gz", folder / "labels.json", tmp_path)
    assert status == 0
    image = nib.load(tmp_path / "CIT168_desc-aseg_dseg.nii.gz")
    labels = np.asarray(image.dataobj)
    for left, right in ((11, 50), (12, 51), (13, 52), (26, 58)):
        points = [
            np.argwhere(labels == label) @ image.affine[:3, :3].T + image.affine[:3, 3] for label in (left, right)
        ]
        assert points[0][:, 0].max() < 3  # mm; the midline of MNI space is at 0
        assert points[1][:, 0].min() > -3
        assert len(points[0]) == pytest.approx(len(points[1]), rel=0.2)
