"""Tables of the scores of tumor regions."""

from __future__ import annotations

import json

import torch

from monai_mamba.metrics.region_tables import region_summary, region_table, write_region_tables


def rows(text: str) -> list[dict[str, str]]:
    header, *lines = text.splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


def test_tables_have_every_subset_and_their_mean(tmp_path):
    subjects, subsets = ["a", "b", "a", "b"], ["FLAIR+T1", "FLAIR+T1", "T1", "T1"]
    scores = torch.tensor([[[1.0, 0.0], [0.5, 2.0]], [[0.6, 4.0], [0.7, 6.0]], [[0.2, 8.0]] * 2, [[0.4, 10.0]] * 2])
    table = rows(region_table(subjects, subsets, scores, ["TC", "WT"]))
    assert [row["subject"] for row in table] == ["a", "a", "b", "b"] * 2
    assert table[1] == {"subject": "a", "modalities": "FLAIR+T1", "region": "WT", "dsc": "0.5", "hd95_mm": "2"}
    summary = {
        (row["modalities"], row["region"]): row for row in rows(region_summary(subjects, subsets, scores, ["TC", "WT"]))
    }
    assert len(summary) == 9
    assert summary["FLAIR+T1", "TC"]["dsc_mean"] == "0.8"
    assert summary["T1", "mean"]["hd95_mm_mean"] == "9"
    assert summary["T1", "mean"]["dsc_sd"] == "0.141421"
    assert summary["mean over subsets", "TC"]["dsc_mean"] == "0.55"
    assert summary["mean over subsets", "TC"]["n"] == "2"
    write_region_tables(tmp_path, subjects, subsets, scores, ["TC", "WT"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.json", "scores.tsv", "summary.tsv"]
    assert "373.1287" in json.loads((tmp_path / "scores.json").read_text())["empty regions"]
