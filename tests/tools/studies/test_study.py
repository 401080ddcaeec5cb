"""What studies have in common."""

from __future__ import annotations

import numpy as np
from studies.folds import HIPPOCAMPUS


def test_a_missing_distance_is_read_as_missing(tmp_path):
    rows = [f"a\t{number}\t{name}\t0\t0\tn/a\tn/a" for number, name in enumerate(HIPPOCAMPUS.structures)]
    (tmp_path / "scores.tsv").write_text("\n".join(["subject\tid\tname\tdsc\tvs\tassd_mm\thd95_mm", *rows]))
    scores = HIPPOCAMPUS.read_scores(tmp_path / "scores.tsv")
    assert scores.shape == (1, 2, 4)
    assert np.isnan(scores[..., 2:]).all()
    assert (scores[..., :2] == 0).all()
