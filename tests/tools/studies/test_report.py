"""The report of a comparison of networks."""

from __future__ import annotations

import numpy as np
import pytest
from studies import report


def test_scores_and_tests_have_the_figures_of_their_cases():
    better = np.zeros((8, 3, 2))
    better[..., 0] = np.linspace(0.8, 0.9, 8)[:, None]
    worse = better.copy()
    worse[..., 0] -= np.linspace(0.1, 0.2, 8)[:, None]
    worse[..., 1] += 2
    worse[0, 0, 1] = np.nan  # a missing distance: left out of the means
    scores, metrics = {"better": better, "worse": worse}, ["dsc", "hd95_mm"]
    rows = report.score_rows(scores, metrics, "abc")
    assert rows[:4] == [["DSC", "better", name, "0.850", "0.035"] for name in ("a", "b", "c", "mean")]  # n - 1
    assert rows[12:] == [["HD95 (mm)", "worse", name, "2.00", "0.00"] for name in ("a", "b", "c", "mean")]
    assert report.score_rows({"better": better[:1]}, metrics, "abc")[0][3:] == ["0.800", "n/a"]
    dsc, hd95 = tests = report.test_rows(scores, metrics)
    text = report.summary(scores, metrics, tests)
    assert "| better | 0.850 ± 0.035 | 0.00 ± 0.00 | 0 | - | - |" in text
    assert f"| 2.00 ± 0.00 | 1 | 0.150 | {dsc[6]} |" in text
    assert dsc[:4] == ["DSC", "worse", "0.150", "0.150"]
    assert hd95[:4] == ["HD95 (mm)", "worse", "-2.00", "-2.00"]
    assert (dsc[4], hd95[4]) == ("1.00", "-1.00")
    assert float(dsc[5]) == pytest.approx(2 / 2**8, rel=0.01)  # all of 8 differ the same way
    assert float(dsc[6]) == pytest.approx(4 / 2**8, rel=0.05)
