"""Scans one by one: a bad one stops no other."""

from __future__ import annotations

import csv
import logging
import threading

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset

from monai_mamba.data import QualityLimits
from monai_mamba.engines import ScanEvaluator
from monai_mamba.errors import BatchError, DeviceError, InputError


class Fails(torch.nn.Module):
    """Returns its input, but for values that stand for an error."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.max() == 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return x


def evaluator(values: list[int], tmp_path, **options: object) -> ScanEvaluator:
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
    return ScanEvaluator("cpu", loader, Fails(), case_table=tmp_path / "cases.tsv", **options)


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


def test_results_are_written_while_the_next_scan_is_computed_and_their_error_is_that_of_the_scan(tmp_path):
    engine, computed, written = evaluator([1, 5, 6], tmp_path), threading.Event(), []

    @engine.on(Events.ITERATION_COMPLETED)
    def hand_over() -> None:
        name = engine.state.batch[0]["name"]

        def write() -> None:
            if name == "scan1" and not computed.wait(60):
                raise TimeoutError("the next scan is not computed before this one is written")
            if name == "scan5":
                raise OSError("the disk is full")
            written.append(name)

        if name == "scan5":
            computed.set()
        engine.write(write)

    with pytest.raises(BatchError, match=r"1 of 3 scans failed.*\n  scan5: .*the disk is full"):
        engine.run()
    assert written == ["scan1", "scan6"]
    with (tmp_path / "cases.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["name"], row["status"]) for row in rows] == [("scan1", "done"), ("scan5", "failed"), ("scan6", "done")]


def test_an_interrupt_loses_no_scan_that_is_computed(tmp_path):
    engine, written = evaluator([1, 5], tmp_path), []

    @engine.on(Events.ITERATION_COMPLETED)
    def hand_over() -> None:
        name = engine.state.batch[0]["name"]
        if name == "scan5":
            raise KeyboardInterrupt
        engine.write(lambda: written.append(name))

    with pytest.raises(KeyboardInterrupt):
        engine.run()
    assert written == ["scan1"]


def test_a_single_scan_raises_its_own_error(tmp_path):
    with pytest.raises(DeviceError, match="scan2: out of memory"):
        evaluator([2], tmp_path).run()
    assert not (tmp_path / "cases.tsv").exists()
    evaluator([1], tmp_path).run()


def test_a_table_that_a_run_of_one_scan_has_made_old_is_warned_of(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    evaluator([1], tmp_path).run()
    evaluator([1, 5], tmp_path).run()
    assert not caplog.messages
    evaluator([5], tmp_path).run()
    assert caplog.messages == [
        f"{tmp_path / 'cases.tsv'} is of an earlier run, without this result. To renew it, run again with all scans as "
        "--input."
    ]


def test_strict_without_limits_is_refused(tmp_path):
    with pytest.raises(InputError, match="--strict True, but nothing grades the results"):
        evaluator([1], tmp_path, strict=True)


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
