"""Scores are gathered case by case, with the size of the reference's voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_mamba.metrics.case_scores import CaseScoresMetric


class Volumes(CaseScoresMetric):
    """Volumes in mm3 of a prediction and its reference."""

    def score(self, predicted: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> torch.Tensor:
        return torch.tensor([[float(predicted.sum() * np.prod(spacing)), float(reference.sum() * np.prod(spacing))]])

    def mean(self, scores: torch.Tensor) -> torch.Tensor:
        return scores.mean(dim=(0, 1))


def test_cases_are_scored_with_their_own_spacing():
    metric, mask = Volumes(), torch.ones(1, 2, 2, 2)
    with pytest.raises(ValueError, match="nothing to aggregate"):
        metric.aggregate()
    metric([mask], [MetaTensor(2 * mask, affine=torch.diag(torch.tensor([3.0, 1.0, 1.0, 1.0])))])
    metric([mask, mask], [mask, 0 * mask])
    assert metric.get_buffer().tolist() == [[[24, 48]], [[8, 8]], [[8, 0]]]
    torch.testing.assert_close(metric.aggregate(), torch.tensor([40 / 3, 56 / 3]))
