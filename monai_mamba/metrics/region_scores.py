"""Scores of tumor regions by the rules of the BraTS challenges, whole and lesion by lesion."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance
from scipy import ndimage

from monai_mamba.grids import bounding_box
from monai_mamba.metrics.case_scores import CaseScoresMetric

REGION_SCORES = ("dsc", "hd95_mm")
LESION_SCORES = ("lesion_dsc", "lesion_hd95_mm", "lesions", "lesions_missed", "lesions_false")
WORST_HD95 = math.hypot(240, 240, 155)  # mm, diagonal of a BraTS volume: 373.1287
WORST_LESION_HD95 = 374.0  # mm, as in the program of BraTS 2023
DILATIONS = 3
MIN_LESION_MM3 = 50.0

EMPTY_RULE = (
    "A region that is empty in reference and prediction has DSC 1 and HD95 0; empty in one of them, DSC 0 and HD95 "
    f"{WORST_HD95:.4f} mm (the diagonal of a BraTS volume)."
)
LESION_RULE = (
    f"Lesions of the reference: parts that stay apart (26 neighbors) after {DILATIONS} dilations (18 neighbors). Parts "
    "of the prediction that touch a dilated lesion are compared with it. A lesion without such a part, and a part that "
    f"touches none, count DSC 0 and HD95 {WORST_LESION_HD95:g} mm. Lesions up to {MIN_LESION_MM3:g} mm3 are left out. "
    "Mean over lesions and false parts; DSC 1 and HD95 0 where there are none. Rule of BraTS 2023 (adult glioma)."
)


def region_scores(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> tuple[float, float]:
    """DSC, 0..1, and HD95 in mm of one region, by MONAI, with `EMPTY_RULE` (BraTS 2017-2022, as on the leaderboard).

    Prediction and reference are masks `(H, W, D)`; `spacing` is the size of a voxel along each axis in mm. HD95 is the
    larger of the two directed 95th percentiles.
    """
    predicted, expected = np.asarray(prediction, dtype=bool), np.asarray(reference, dtype=bool)
    if not predicted.any() or not expected.any():
        both = predicted.any() == expected.any()
        return (1.0, 0.0) if both else (0.0, WORST_HD95)
    return _overlap_and_distance(predicted, expected, spacing)


def lesion_scores(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> tuple[float, ...]:
    """The numbers of `LESION_SCORES` for one region: means over its lesions, with `LESION_RULE`; arguments as above.

    Source: Saluja et al., evaluation program of BraTS 2023, https://github.com/rachitsaluja/BraTS-2023-Metrics.
    """
    predicted, expected = np.asarray(prediction, dtype=bool), np.asarray(reference, dtype=bool)
    near, touching = ndimage.generate_binary_structure(3, 2), ndimage.generate_binary_structure(3, 3)
    parts, count = ndimage.label(predicted, touching)
    dilated = ndimage.binary_dilation(expected, near, iterations=DILATIONS)
    grown, lesions = ndimage.label(dilated, touching)
    found: set[int] = set()
    scores, missed = [], 0
    for lesion in range(1, lesions + 1):
        # A dilated lesion is its component of all dilated lesions: those of others do not reach it.
        inside = grown == lesion
        members = [part for part in np.unique(parts[inside]).tolist() if part]
        found.update(members)
        truth = expected & inside
        if truth.sum() * math.prod(spacing) <= MIN_LESION_MM3:
            continue
        if members:
            scores.append(_overlap_and_distance(np.isin(parts, members), truth, spacing))
        else:
            missed += 1
    false = count - len(found)
    total = len(scores) + missed + false
    counts = (float(len(scores) + missed), float(missed), float(false))
    if not total:
        return (1.0, 0.0, *counts)
    overlap = sum(dsc for dsc, _ in scores) / total
    distance = (sum(hd95 for _, hd95 in scores) + WORST_LESION_HD95 * (missed + false)) / total
    return (overlap, distance, *counts)


def _overlap_and_distance(predicted: np.ndarray, expected: np.ndarray, spacing: Sequence[float]) -> tuple[float, float]:
    box = bounding_box(predicted | expected, margin=1)  # so that surfaces are the same as in the whole image
    masks = [torch.from_numpy(np.ascontiguousarray(mask[box]))[None, None] for mask in (predicted, expected)]
    distance = compute_hausdorff_distance(
        *masks, include_background=True, percentile=95, spacing=[float(size) for size in spacing]
    )
    return compute_dice(*masks).item(), distance.item()


class RegionScoresMetric(CaseScoresMetric):
    """`region_scores` of every case and region of masks `(B, R, H, W, D)`, and `lesion_scores` if asked for.

    The buffer is `(N, R, S)` with the columns `REGION_SCORES` and then, if asked for, `LESION_SCORES`.

    Args:
        lesion_wise: whether to score lesions, too.
    """

    def __init__(self, lesion_wise: bool = False) -> None:
        super().__init__()
        self.lesion_wise = lesion_wise

    def score(self, predicted: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> torch.Tensor:
        """Scores of one case."""
        scores = []
        for masks in zip(predicted, reference, strict=True):
            lesions = lesion_scores(*masks, spacing) if self.lesion_wise else ()
            scores.append(region_scores(*masks, spacing) + lesions)
        return torch.tensor(scores)

    def mean(self, scores: torch.Tensor) -> torch.Tensor:
        """DSC, averaged over regions and cases."""
        return scores[:, :, 0].mean()
