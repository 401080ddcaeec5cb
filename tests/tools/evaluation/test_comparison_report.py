"""Figures of the comparison of methods."""

from __future__ import annotations

import numpy as np
from evaluation.comparison_report import relative_differences


def test_volumes_against_the_reference():
    volumes, reference = np.array([[110.0, 0.0], [0.0, 30.0]]), np.array([[90.0, 0.0], [50.0, 30.0]])
    means, differences = relative_differences(volumes, reference)
    assert means.tolist() == [100, 25, 30]
    assert differences.tolist() == [20, -200, 0]
