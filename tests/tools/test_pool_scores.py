"""Scores of folds in one table."""

from __future__ import annotations

import csv
import importlib
import sys
from pathlib import Path

import pytest
import torch

from monai_mamba.metrics import write_region_tables

TOOL = Path(__file__).resolve().parents[2] / "tools" / "pool_scores.py"
REGIONS = ("TC", "WT", "ET")
SUBSETS = ("FLAIR+T1+T1ce+T2", "T1")


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command in this process; gives its exit status and what it printed."""

    def command(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", list(map(str, [TOOL, *arguments])))
        status = importlib.import_module(TOOL.stem).main()
        captured = capsys.readouterr()
        return status, captured.err if status else captured.out

    return command


def fold(folder: Path, cases: dict[str, float]) -> Path:
    """Tables of an evaluation in which every DSC of a case is the given one, lower by 0.25 from T1 alone."""
    subjects = [name for _ in SUBSETS for name in cases]
    subsets = [subset for subset in SUBSETS for _ in cases]
    dsc = torch.tensor([cases[name] - 0.25 * (subset == "T1") for name, subset in zip(subjects, subsets, strict=True)])
    scores = torch.stack([dsc, 10 - dsc], dim=-1)[:, None].expand(-1, 3, -1)
    write_region_tables(folder, subjects, subsets, scores, REGIONS)
    return folder / "scores.tsv"


def test_means_are_over_the_cases_of_all_folds(run, tmp_path):
    tables = [fold(tmp_path / "0", {"a": 0.5, "b": 1.0}), fold(tmp_path / "1", {"c": 0.75, "d": 0.75, "e": 0.5})]
    status, text = run(*tables, "--output_dir", tmp_path / "all")
    assert (status, text.split(":")[0]) == (0, "5 cases")
    with (tmp_path / "all" / "summary.tsv").open(newline="") as file:
        rows = {(row["modalities"], row["region"]): row for row in csv.DictReader(file, delimiter="\t")}
    assert {row["n"] for row in rows.values()} == {"5"}
    assert float(rows["FLAIR+T1+T1ce+T2", "ET"]["dsc_mean"]) == pytest.approx(0.7)
    assert float(rows["T1", "mean"]["dsc_mean"]) == pytest.approx(0.45)
    assert float(rows["mean over subsets", "WT"]["hd95_mm_mean"]) == pytest.approx(10 - 0.575, abs=1e-3)
    assert len((tmp_path / "all" / "scores.tsv").read_text().splitlines()) == 1 + 5 * 2 * 3


def test_a_case_in_two_folds_and_another_file_are_refused(run, tmp_path):
    one, other = fold(tmp_path / "0", {"a": 0.5}), fold(tmp_path / "1", {"a": 0.6})
    status, text = run(one, other, "--output_dir", tmp_path / "all")
    assert status == 1
    assert text.endswith(f"Error: {other}: a was scored in another table too. A case is in one fold.\n")
    status, text = run(one, tmp_path / "0" / "summary.tsv", "--output_dir", tmp_path / "all")
    assert status == 1
    assert "summary.tsv: no table of region scores" in text
    (tmp_path / "other.tsv").write_text(other.read_text().replace("hd95_mm", "nsd"))
    status, text = run(one, tmp_path / "other.tsv", "--output_dir", tmp_path / "all")
    assert status == 1
    assert "other.tsv: its scores are ['dsc', 'nsd']; expected ['dsc', 'hd95_mm']" in text
    for change, said in (
        (lambda line: line.replace("WT", "XT"), "['TC', 'XT', 'ET']; expected ['TC', 'WT', 'ET']"),
        (lambda line: line.replace("WT", "TC"), "b has two rows of TC"),
        (lambda line: line.replace("0.6", "nan"), "b, FLAIR+T1+T1ce+T2 has no score (NaN)"),
    ):
        (tmp_path / "b.tsv").write_text(change(other.read_text().replace("a\t", "b\t")))
        status, text = run(one, tmp_path / "b.tsv", "--output_dir", tmp_path / "all")
        assert (status, said in text) == (1, True), text
    status, text = run(tmp_path / "absent.tsv", "--output_dir", tmp_path / "all")
    assert "absent.tsv: no table of region scores" in text
    assert not (tmp_path / "all").exists()
