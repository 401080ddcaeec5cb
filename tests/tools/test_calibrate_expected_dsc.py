"""The calibration of the expected DSC: what it fits, and what it says of people it was not fitted on."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "calibrate_expected_dsc.py"


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
    monkeypatch.syspath_prepend(TOOL.parent)
    import calibrate_expected_dsc

    def run(*more: str) -> int:
        folders = [f"--{name}={tmp_path / name}" for name in ("results", "reference")]
        arguments = [TOOL.name, *folders, f"--output_dir={tmp_path / 'out'}", *more]
        monkeypatch.setattr(sys, "argv", arguments)
        return calibrate_expected_dsc.main()

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
