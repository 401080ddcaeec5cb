"""Tables of scores: contents, counts of absent structures, and files that appear complete."""

from __future__ import annotations

import csv
import json
from functools import partial
from io import StringIO
from pathlib import Path

import forked
import pytest
import torch
from ignite.engine import Engine
from monai.handlers import IgniteMetricHandler

from monai_mamba.errors import OutputError
from monai_mamba.handlers import ScoreWriter
from monai_mamba.labels import LabelTable
from monai_mamba.metrics import StructureScoresMetric
from monai_mamba.metrics.score_tables import write_region_tables, write_score_tables

NAN = float("nan")
TABLE = LabelTable.load("subcortical")
STRUCTURES = TABLE.structures[:3]
SUBJECTS = ["sub-1", "ses/sub-2"]
SCORES = torch.tensor(
    [
        [[0.9, 0.8, 0.5, 1.0], [0.0, 0.0, NAN, NAN], [NAN, NAN, NAN, NAN]],
        [[0.7, 1.0, 1.5, 2.0], [0.5, 0.5, 1.0, 1.0], [NAN, NAN, NAN, NAN]],
    ]
)


def parse(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text), delimiter="\t"))


def test_one_row_per_scan_and_structure(tmp_path):
    write_score_tables(tmp_path, SUBJECTS, SCORES, STRUCTURES, grid="")
    rows = parse((tmp_path / "scores.tsv").read_text())
    assert list(rows[0]) == ["subject", "id", "name", "dsc", "vs", "assd_mm", "hd95_mm"]
    assert [(row["subject"], row["id"]) for row in rows[2:4]] == [("sub-1", "7"), ("ses/sub-2", "4")]
    assert rows[0]["name"] == "Left-Lateral-Ventricle"
    assert [rows[1][name] for name in ("dsc", "vs", "assd_mm", "hd95_mm")] == ["0", "0", "n/a", "n/a"]
    assert rows[3]["assd_mm"] == "1.5"


def test_summary_counts_and_averages(tmp_path):
    write_score_tables(tmp_path, SUBJECTS, SCORES, STRUCTURES, grid="")
    first, second, third, overall = parse((tmp_path / "summary.tsv").read_text())
    assert [float(first[name]) for name in ("dsc_mean", "vs_mean", "assd_mm_mean")] == pytest.approx([0.8, 0.9, 1.0])
    assert float(first["dsc_sd"]) == pytest.approx(0.2 / 2**0.5, rel=1e-5)
    assert [second[name] for name in ("n", "n_absent", "n_missing", "assd_mm_mean")] == ["2", "0", "1", "1"]
    assert second["assd_mm_sd"] == "n/a"
    assert [third[name] for name in ("n", "n_absent", "n_missing", "dsc_mean")] == ["0", "2", "0", "n/a"]
    assert [overall[name] for name in ("n", "n_absent", "n_missing")] == ["2", "2", "1"]
    assert float(overall["dsc_mean"]) == pytest.approx((0.45 + 0.6) / 2)


def test_files_say_what_they_hold_and_leave_nothing_behind(tmp_path):
    write_score_tables(tmp_path / "out", SUBJECTS, SCORES, STRUCTURES, grid="the conformed grid")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["scores.json", "scores.tsv", "summary.tsv"]
    notes = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert notes["grid"] == "the conformed grid"
    assert "DSC 0 and VS 0" in notes["absent structures"]
    assert set(parse((tmp_path / "out" / "scores.tsv").read_text())[0]) <= set(notes)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        write_score_tables(tmp_path / "file" / "out", SUBJECTS, SCORES, STRUCTURES, grid="")


def test_interrupted_write_keeps_the_old_table(tmp_path, monkeypatch):
    write_score_tables(tmp_path, SUBJECTS, SCORES, STRUCTURES, grid="")
    before = (tmp_path / "scores.tsv").read_text()
    monkeypatch.setattr("monai_mamba.files.os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OutputError, match="disk full"):
        write_score_tables(tmp_path, ["other"] * 2, SCORES, STRUCTURES, grid="")
    assert (tmp_path / "scores.tsv").read_text() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_tables_of_regions_have_every_subset_and_their_mean(tmp_path):
    subjects, subsets = ["a", "b", "a", "b"], ["FLAIR+T1", "FLAIR+T1", "T1", "T1"]
    scores = torch.tensor([[[1.0, 0.0], [0.5, 2.0]], [[0.6, 4.0], [0.7, 6.0]], [[0.2, 8.0]] * 2, [[0.4, 10.0]] * 2])
    write_region_tables(tmp_path, subjects, subsets, scores, ["TC", "WT"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.json", "scores.tsv", "summary.tsv"]
    assert "373.1287" in json.loads((tmp_path / "scores.json").read_text())["empty regions"]
    table = parse((tmp_path / "scores.tsv").read_text())
    assert [row["subject"] for row in table] == ["a", "a", "b", "b"] * 2
    assert table[1] == {"subject": "a", "modalities": "FLAIR+T1", "region": "WT", "dsc": "0.5", "hd95_mm": "2"}
    rows = parse((tmp_path / "summary.tsv").read_text())
    summary = {(row["modalities"], row["region"]): row for row in rows}
    assert len(rows) == len(summary) == 9
    assert summary["FLAIR+T1", "TC"]["dsc_mean"] == "0.8"
    assert summary["T1", "mean"]["hd95_mm_mean"] == "9"
    assert summary["T1", "mean"]["dsc_sd"] == "0.141421"
    assert summary["mean over subsets", "TC"]["dsc_mean"] == "0.55"
    assert summary["mean over subsets", "TC"]["n"] == "2"


def attach(engine: Engine, folder: str | Path) -> None:
    """The handlers of evaluate.json."""
    metric = StructureScoresMetric([entry.index for entry in TABLE.structures])
    IgniteMetricHandler(metric_fn=metric).attach(engine, "scores")
    write = partial(write_score_tables, structures=TABLE.structures, grid="test")
    ScoreWriter(folder, "scores", lambda batch: batch["subject"], write).attach(engine)


def test_handlers_write_the_tables_of_an_evaluation(tmp_path):
    reference = torch.zeros(1, 6, 6, 6, dtype=torch.uint8)
    reference[..., :2] = 1
    shifted = reference.roll(1, dims=3)

    def step(engine: Engine, batch: dict) -> tuple[list, list]:
        return batch["pred"], [reference]

    engine = Engine(step)
    engine.state.metric_details = {}
    attach(engine, tmp_path)
    batches = [{"pred": [reference], "subject": ["a"]}, {"pred": [shifted], "subject": ["b"]}]
    for _ in range(2):  # a second run must not carry over the first
        engine.run(batches)
    rows = [row for row in parse((tmp_path / "scores.tsv").read_text()) if row["id"] == "4"]
    assert [row["subject"] for row in rows] == ["a", "b"]
    assert [float(row["dsc"]) for row in rows] == [1.0, 0.5]
    assert engine.state.metrics["scores"] == pytest.approx(0.75)


def evaluate_in_two_processes(rank: int, folder: str, rendezvous: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    reference = torch.zeros(1, 6, 6, 6, dtype=torch.uint8)
    reference[..., :2] = 1
    engine = Engine(lambda _, batch: ([reference.roll(rank, dims=3)], [reference]))
    engine.state.metric_details = {}
    attach(engine, folder)
    engine.run([{"subject": [f"scan of rank {rank}"]}])
    torch.distributed.destroy_process_group()


def test_first_rank_writes_the_scores_of_all(tmp_path):
    rendezvous = (tmp_path / "rendezvous").as_uri()
    torch.multiprocessing.start_processes(
        evaluate_in_two_processes, (str(tmp_path / "out"), rendezvous), nprocs=2, start_method=forked.METHOD
    )
    rows = [row for row in parse((tmp_path / "out" / "scores.tsv").read_text()) if row["id"] == "4"]
    assert [(row["subject"], float(row["dsc"])) for row in rows] == [("scan of rank 0", 1.0), ("scan of rank 1", 0.5)]
