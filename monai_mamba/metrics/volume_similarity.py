"""Volume similarity, which MONAI does not have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics.utils import do_metric_reduction

from monai_mamba.metrics.case_scores import CaseScoresMetric


def compute_volume_similarity(
    y_pred: torch.Tensor, y: torch.Tensor, include_background: bool = True, num_classes: int | None = None
) -> torch.Tensor:
    """Volume similarity of each case and class.

    `VS = 1 - |Vp - Vr| / (Vp + Vr)` with the volumes `Vp` of the prediction and `Vr` of the reference: 1 for equal
    volumes wherever they lie, 0 where only one of the two contains the class (Taha and Hanbury, BMC Medical Imaging
    15:29, 2015, "volumetric similarity").

    Args:
        y_pred: binary masks `(B, C, H, W[, D])`, or class indices `(B, 1, H, W[, D])` if `num_classes` is given.
        y: reference in the same form.
        include_background: whether to keep the first class.
        num_classes: number of classes, background included, when the inputs are class indices.

    Returns:
        Values in 0..1, `(B, C)`, or `(B, C - 1)` without the background; NaN where a class is absent in both.

    Raises:
        ValueError: the shapes differ.
    """
    if y_pred.shape != y.shape:
        raise ValueError(f"y_pred and y must have the same shape, got {tuple(y_pred.shape)} and {tuple(y.shape)}.")
    predicted, reference = _volumes(y_pred, num_classes), _volumes(y, num_classes)
    if not include_background:
        predicted, reference = predicted[:, 1:], reference[:, 1:]
    # 0 / 0 is NaN, which MONAI's reductions leave out: a class absent in both says nothing about the method.
    return 1 - (predicted - reference).abs() / (predicted + reference)


def _volumes(masks: torch.Tensor, num_classes: int | None) -> torch.Tensor:
    """Voxels per case and class `(B, C)`, in float64 because float32 is not exact beyond 2^24."""
    voxels = torch.as_tensor(masks).flatten(2)
    if num_classes is None:
        return (voxels != 0).sum(dim=2).double()
    return torch.stack([torch.bincount(case.flatten().long(), minlength=num_classes) for case in voxels]).double()


class VolumeSimilarityMetric(CaseScoresMetric):
    """Volume similarity per case and class, `(N, C)`; arguments as in `compute_volume_similarity`."""

    def __init__(self, include_background: bool = True, num_classes: int | None = None) -> None:
        super().__init__()
        self.include_background = include_background
        self.num_classes = num_classes

    def score(self, predicted: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> torch.Tensor:
        """Values of one case, `(C,)`."""
        masks = (torch.from_numpy(values)[None] for values in (predicted, reference))
        return compute_volume_similarity(*masks, self.include_background, self.num_classes)[0]

    def mean(self, scores: torch.Tensor) -> torch.Tensor:
        """Mean over the classes of each case and then over the cases, of the values that are not NaN."""
        return do_metric_reduction(scores, "mean")[0]
