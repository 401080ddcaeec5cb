"""Overlap, volume and surface agreement of each structure, with one rule for structures that are absent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_dice, compute_hausdorff_distance

from monai_mamba.data.label_values import to_label_ids
from monai_mamba.grids import box_union, label_boxes
from monai_mamba.metrics.case_scores import CaseScoresMetric
from monai_mamba.metrics.volume_similarity import compute_volume_similarity

SCORES = ("dsc", "vs", "assd_mm", "hd95_mm")

ABSENT_RULE = (
    "A structure absent from both label maps is left out. Absent from one of them, it scores DSC 0 and VS 0, and its "
    "distances are counted as missing."
)


def structure_scores(
    prediction: np.ndarray | torch.Tensor,
    reference: np.ndarray | torch.Tensor,
    labels: Sequence[int],
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
) -> torch.Tensor:
    """Compare two label maps `(H, W, D)` on one grid, class indices or label ids, structure by structure.

    DSC, ASSD (symmetric mean of the distances between the surfaces) and HD95 (the larger of the two directed 95th
    percentiles) are MONAI's. MONAI gives NaN or infinity for absent structures; here `ABSENT_RULE` holds for all four.

    Args:
        prediction: the label map to judge.
        reference: the label map that is right.
        labels: label values to compare, each > 0.
        spacing: size of a voxel along each axis in mm.

    Returns:
        `(len(labels), 4)` float32 with the columns `SCORES`: DSC and VS in 0..1, ASSD and HD95 in mm; NaN where
        missing.

    Raises:
        InputError: the values are no labels, see `to_label_ids`.
        ValueError: the shapes differ.
    """
    predicted, expected = (
        to_label_ids(labels.numpy(force=True) if isinstance(labels, torch.Tensor) else np.asarray(labels), name)
        for name, labels in (("prediction", prediction), ("reference", reference))
    )
    if predicted.shape != expected.shape:
        raise ValueError(f"Label maps must share one grid, got {predicted.shape} and {expected.shape}.")
    boxes = label_boxes(predicted), label_boxes(expected)
    scores = torch.full((len(labels), len(SCORES)), torch.nan)
    for row, label in enumerate(labels):
        found = [of_map[label] for of_map in boxes if label in of_map]
        if len(found) < 2:
            scores[row, :2] = 0 if found else torch.nan
            continue
        box = box_union(found)
        masks = [torch.from_numpy(labels_map[box] == label)[None, None] for labels_map in (predicted, expected)]
        step = [float(size) for size in spacing]
        scores[row, 0] = compute_dice(*masks).item()
        scores[row, 1] = compute_volume_similarity(*masks).item()
        scores[row, 2] = compute_average_surface_distance(
            *masks, include_background=True, symmetric=True, spacing=step
        ).item()
        scores[row, 3] = compute_hausdorff_distance(*masks, include_background=True, percentile=95, spacing=step).item()
    return scores


def mean_over_scans(scores: torch.Tensor) -> torch.Tensor:
    """Mean over the structures of each scan, `(N, C, 4)` to `(N, 4)`, leaving missing values out."""
    return scores.double().nanmean(dim=1)


class StructureScoresMetric(CaseScoresMetric):
    """`structure_scores` of every case of label maps `(B, 1, H, W, D)`.

    Args:
        labels: label values to compare, each > 0.
    """

    def __init__(self, labels: Sequence[int]) -> None:
        super().__init__()
        self.labels = tuple(labels)

    def score(self, predicted: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> torch.Tensor:
        """`(len(labels), 4)`, columns as in `SCORES`."""
        return structure_scores(predicted[0], reference[0], self.labels, spacing)

    def mean(self, scores: torch.Tensor) -> torch.Tensor:
        """DSC, averaged over the structures of each scan and then over the scans."""
        return mean_over_scans(scores)[:, 0].nanmean()
