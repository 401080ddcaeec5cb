"""The fits of limits, and of the calibration of the expected DSC."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import fit_quality
import nibabel as nib
import numpy as np
import pytest

from monai_mamba.data.quality import QualityLimits
from monai_mamba.labels import LabelTable


def test_limits_are_the_extremes_of_people_with_a_margin(monkeypatch, tmp_path, capsys):
    entries = LabelTable.load("subcortical").structures
    (tmp_path / "ref").mkdir()
    (tmp_path / "results").mkdir()
    for name, size in (("a", 1), ("abrain", 1), ("b", 2)):
        ids = np.zeros((36, 36, 40), np.uint8)
        for number, entry in enumerate(entries):
            thickness = 2 * size if entry.id == 17 else size  # the left hippocampus is twice as large
            ids[number, :thickness, :10] = entry.id
        nib.save(nib.Nifti1Image(ids, np.diag([1, 1, 2, 1])), tmp_path / "ref" / f"{name}_desc-aseg_dseg.nii.gz")
        dsc = {entry.id: "n/a" if entry.id == 24 else 0.8 if size == 1 else 0.9 for entry in entries}
        rows = [f"{entry.id}\t{entry.name}\t10\t{19 * size}\t20\t{dsc[entry.id]}" for entry in entries]
        table = "\n".join(["id\tname\tvoxels\tmm3\tmm3_soft\texpected_dsc", *rows])
        (tmp_path / "results" / f"{name}_desc-subcortical_volumes.tsv").write_text(table)
    lines = ["subject\tperson\tfold\tmissing\tdraws", "a\tp\t0\t\t1", "abrain\tp\t0\t\t1", "b\tq\t0\t77\t1"]
    (tmp_path / "scans.tsv").write_text("\n".join(lines))
    options = {"reference": "ref", "results": "results", "scan_table": "scans.tsv", "output_dir": "out"}
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(tmp_path / value))]
    monkeypatch.setattr(sys, "argv", ["fit_quality.py", "limits", *arguments])
    assert fit_quality.main() == 0
    assert "Volumes of 2 people, expected DSC of 3 scans" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["fit_quality.py", "limits", *arguments, "--results", str(tmp_path / "ref")])
    assert fit_quality.main() == 1
    assert "ref: no results there (*_volumes.tsv)" in capsys.readouterr().err
    limits = QualityLimits.load(tmp_path / "out" / "quality.tsv").limits
    assert limits["Left-Thalamus"] == pytest.approx((20 / 2, 40 * 2, 0, 0.8 * 0.85), rel=1e-3)
    assert limits["Left-Hippocampus"] == pytest.approx((40 / 2, 80 * 2, 2 * 2 / 3, 0.8 * 0.85), rel=1e-3)
    assert "CSF" not in limits  # which no result has
    assert limits["WM-hypointensities"][:2] == pytest.approx(
        (20 / 2, 20 * 2), rel=1e-3
    )  # the map of b does not know it
    report = (tmp_path / "out" / "report.md").read_text()
    assert "| a | look | 1 of 30 structures are unusual: Left-Hippocampus (19 mm3" in report


def test_limits_are_the_extremes_of_crops_and_of_the_sides_of_a_person(monkeypatch, tmp_path, capsys):
    (tmp_path / "data" / "labelsTr").mkdir(parents=True)
    # Cases 1 and 2 are one person; 4 has no other side.
    for case, (anterior, posterior) in {1: (10, 12), 2: (20, 12), 4: (16, 6)}.items():
        ids = np.zeros((5, 8, 8), np.uint8)
        ids.ravel()[:anterior], ids.ravel()[100 : 100 + posterior] = 1, 2
        nib.save(
            nib.Nifti1Image(ids, np.diag([1, 1, 2, 1])),
            tmp_path / "data" / "labelsTr" / f"hippocampus_{case:03d}.nii.gz",
        )
    options = ["--dataset_dir", str(tmp_path / "data"), "--output_dir", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["fit_quality.py", "hippocampus", *options])
    assert fit_quality.main() == 0
    assert "3 hippocampi, 1 people with both." in capsys.readouterr().out
    limits = QualityLimits.load(tmp_path / "out" / "quality.tsv").limits
    for side in ("Left", "Right"):
        anterior, posterior = (limits[f"{side}-Hippocampus-{part}"] for part in ("anterior", "posterior"))
        assert anterior == pytest.approx((2 * 10 / 2, 2 * 20 * 2, 2 * 10 / 15, np.nan), rel=1e-3, nan_ok=True)
        assert posterior == pytest.approx((2 * 6 / 2, 2 * 12 * 2, 0, np.nan), rel=1e-3, nan_ok=True)


def save(folder: Path, name: str, cut: int, expected: float) -> None:
    """A reference with a hippocampus of 8 voxels, of which the result finds all but `cut`, and its table."""
    for kind in ("results", "reference"):
        (folder / kind).mkdir(exist_ok=True)
        ids = np.zeros((6, 6, 6), np.uint8)
        ids[2:4, 2:4, 2:4] = 17
        if kind == "results":
            ids.ravel()[np.flatnonzero(ids)[:cut]] = 0
        nib.save(nib.Nifti1Image(ids, np.eye(4)), folder / kind / f"{name}_desc-x_dseg.nii.gz")
    row = f"17\tLeft-Hippocampus\t8\t8\t8\t{expected}"
    header = "id\tname\tvoxels\tmm3\tmm3_soft\texpected_dsc"
    (folder / "results" / f"{name}_desc-x_volumes.tsv").write_text(f"{header}\n{row}\n")


@pytest.fixture
def call(monkeypatch, tmp_path):
    def run(*more: str) -> int:
        folders = [f"--{name}={tmp_path / name}" for name in ("results", "reference")]
        arguments = ["fit_quality.py", "calibration", *folders, f"--output_dir={tmp_path / 'out'}", *more]
        monkeypatch.setattr(sys, "argv", arguments)
        return fit_quality.main()

    return run


def test_factor_is_measured_by_expected_and_the_report_leaves_each_person_out(call, tmp_path, capsys):
    save(tmp_path, "a", 4, 0.9)  # DSC 2/3
    save(tmp_path, "b", 4, 0.9)
    save(tmp_path, "c", 0, 1.0)
    assert call() == 0
    with (tmp_path / "out" / "calibration.tsv").open() as file:
        factors = {row["id"]: float(row["factor"]) for row in csv.DictReader(file, delimiter="\t")}
    assert factors["17"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 2.8, abs=1e-3)
    assert list(factors) == ["17"]
    gap = np.mean([0.9, 0.9, 1.0]) - np.mean([2 / 3, 2 / 3, 1])
    left_out = [0.9 * (5 / 3) / 1.9, 0.9 * (5 / 3) / 1.9, 1.0 * (4 / 3) / 1.8]
    after = np.mean(left_out) - np.mean([2 / 3, 2 / 3, 1])
    assert f"{gap:+.3f} as the network says, {after:+.3f} with factors" in capsys.readouterr().out


def test_scans_of_one_person_count_once_and_unknown_ids_not_at_all(call, tmp_path, capsys):
    for name, cut in (("a", 4), ("abrain", 4), ("c", 0)):
        save(tmp_path, name, cut, 1.0)
    rows = ["a\tp\t0\t\t1", "abrain\tp\t0\t\t1", "c\tq\t1\t17\t1"]
    (tmp_path / "scans.tsv").write_text("\n".join(["subject\tperson\tfold\tmissing\tdraws", *rows]))
    assert call(f"--scan_table={tmp_path / 'scans.tsv'}") == 0
    assert "3 scans of 2 persons" in capsys.readouterr().out
    assert "17\t0.667" in (tmp_path / "out" / "calibration.tsv").read_text()


def test_a_result_without_a_reference_is_refused(call, tmp_path, capsys):
    save(tmp_path, "a", 0, 1.0)
    next((tmp_path / "reference").iterdir()).unlink()
    save(tmp_path, "b", 0, 1.0)
    assert call() == 1
    assert "there is no label map for a" in capsys.readouterr().err
