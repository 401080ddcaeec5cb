"""Tables of scores as evaluations write them."""

from __future__ import annotations

import math

import pytest
from evaluation.score_files import read_scores


def test_a_missing_distance_is_read_as_missing(tmp_path):
    (tmp_path / "scores.tsv").write_text("subject\tid\tname\tdsc\thd95_mm\na\t1\tone\t0\tn/a\na\t2\ttwo\t0.5\t3\n")
    metrics, cases = read_scores(tmp_path / "scores.tsv")
    assert metrics == ["dsc", "hd95_mm"]
    one, two = cases["a", ""].values()
    assert (one[0], two, math.isnan(one[1])) == (0, [0.5, 3], True)


def test_subsets_of_modalities_are_cases_of_their_own_and_a_row_is_there_once(tmp_path):
    rows = ["subject\tmodalities\tregion\tdsc", "a\tT1\tWT\t0.5", "a\tT2\tWT\t0.6"]
    (tmp_path / "scores.tsv").write_text("\n".join(rows))
    assert read_scores(tmp_path / "scores.tsv")[1] == {("a", "T1"): {"WT": [0.5]}, ("a", "T2"): {"WT": [0.6]}}
    (tmp_path / "scores.tsv").write_text("\n".join([*rows, rows[1]]))
    with pytest.raises(ValueError, match="a has two rows of WT"):
        read_scores(tmp_path / "scores.tsv")
