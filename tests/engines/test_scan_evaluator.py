"""Scans one by one: a bad one stops no other."""

from __future__ import annotations

import csv

import pytest
import torch
from monai.data import DataLoader, Dataset

from monai_mamba.data import QualityLimits
from monai_mamba.engines import ScanEvaluator
from monai_mamba.errors import BatchError, DeviceError


class Fails(torch.nn.Module):
    """Returns its input, but for values that stand for an error."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.max() == 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return x


def evaluator(values: list[int], tmp_path) -> ScanEvaluator:
    items = [
        {"image": torch.full((1, 2, 2, 2), float(value)), "name": f"scan{value}", "output": str(tmp_path / f"{value}")}
        for value in values
    ]
    for item in items:
        if item["name"] == "scan3":
            item["problem"] = "scan3: it is no head."
        if item["name"] == "scan4":
            item["finished"] = True
    loader = DataLoader(Dataset(items), batch_size=1)
    return ScanEvaluator("cpu", loader, Fails(), case_table=tmp_path / "cases.tsv")


def test_the_others_are_done_and_the_table_says_what_became_of_each(tmp_path):
    with pytest.raises(BatchError, match=r"(?s)2 of 4 scans failed.*scan2: out of memory on cpu.*scan3: it is no head"):
        evaluator([1, 2, 3, 4], tmp_path).run()
    with (tmp_path / "cases.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["name"], row["status"]) for row in rows] == [
        ("scan1", "done"),
        ("scan2", "failed"),
        ("scan3", "failed"),
        ("scan4", "skipped"),
    ]


def test_a_single_scan_raises_its_own_error(tmp_path):
    with pytest.raises(DeviceError, match="scan2: out of memory"):
        evaluator([2], tmp_path).run()
    assert not (tmp_path / "cases.tsv").exists()
    evaluator([1], tmp_path).run()


def test_results_that_cannot_be_read_any_more_are_no_pass(tmp_path):
    (tmp_path / "4_volumes.tsv").write_text("name\tmm3\nA\t1\n", encoding="utf-16")
    engine = evaluator([4, 4], tmp_path)
    engine.quality = QualityLimits({"A": (1, 2, 0, 0)})
    engine.run()
    with (tmp_path / "cases.tsv").open(newline="") as file:
        row, _ = csv.DictReader(file, delimiter="\t")
    assert row["quality"] == "fail"
    assert row["message"].startswith("the table of volumes cannot be read")


def test_a_note_on_a_scan_goes_into_the_table(tmp_path):
    engine = evaluator([1, 4], tmp_path)
    for item in engine.data_loader.dataset.data:
        item["note"] = "the same file"
    engine.run()
    with (tmp_path / "cases.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["status"] for row in rows] == ["done", "skipped"]
    assert [row["message"] for row in rows] == ["the same file"] * 2
