"""What metrics of whole cases share: scores that are gathered case by case."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from monai.metrics import CumulativeIterationMetric
from nibabel.affines import voxel_sizes


class CaseScoresMetric(CumulativeIterationMetric):
    """Scores of every case, gathered over the iterations (and over the ranks of a distributed run).

    The size of a voxel is taken from the affine of the reference if that is a `MetaTensor`, otherwise it is 1 mm.
    """

    @abstractmethod
    def score(self, predicted: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> torch.Tensor:
        """Scores of one case, `(C, S)` or `(C,)`, of two arrays `(channels, H, W, D)` and the size of a voxel in mm."""

    @abstractmethod
    def mean(self, scores: torch.Tensor) -> torch.Tensor:
        """One number from the scores of all N cases."""

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        affines = torch.as_tensor(y.affine).reshape(-1, 4, 4) if isinstance(y, MetaTensor) else torch.eye(4)[None]
        spacings = [voxel_sizes(affine.cpu().numpy()).tolist() for affine in affines] * (len(y) // len(affines))
        predicted, reference = (torch.as_tensor(values).detach().cpu().numpy() for values in (y_pred, y))
        return torch.stack([self.score(*case) for case in zip(predicted, reference, spacings, strict=True)])

    def aggregate(self) -> torch.Tensor:  # type: ignore[override]
        """The `mean` of all cases.

        Raises:
            ValueError: nothing has been accumulated.
        """
        scores = self.get_buffer()
        if scores is None:
            raise ValueError("There is nothing to aggregate: call the metric on at least one batch before.")
        return self.mean(scores)
