"""Scores of tumor regions as tables: one row per case, subset of modalities and region, and their summary."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from monai_mamba.files import table_text
from monai_mamba.metrics.region_scores import EMPTY_RULE, LESION_RULE, LESION_SCORES, REGION_SCORES
from monai_mamba.metrics.score_tables import moment_cells, number_text, write_scores

logger = logging.getLogger(__name__)

MEAN = "mean"
ALL_SUBSETS = "mean over subsets"

REGION_NOTES = {
    "subject": "Name of the case.",
    "modalities": "Modalities that the network was given.",
    "region": "WT whole tumor, TC tumor core, ET enhancing tumor; mean: of the three.",
    "dsc": "Dice similarity coefficient, 0..1.",
    "hd95_mm": "95 % Hausdorff distance in mm: the larger of the two directed 95th percentiles.",
    "n": "Number of cases.",
    "*_mean, *_sd": "Mean and standard deviation (n - 1) over the cases.",
    ALL_SUBSETS: "Last rows of the summary: the subsets of each case are averaged first.",
    "empty regions": EMPTY_RULE,
}
LESION_NOTES = {
    "lesion_dsc, lesion_hd95_mm": LESION_RULE,
    "lesions": "Lesions of the reference that count.",
    "lesions_missed": "Those of them that no part of the prediction touches.",
    "lesions_false": "Parts of the prediction that touch no lesion.",
}


def region_table(subjects: Sequence[str], subsets: Sequence[str], scores: torch.Tensor, regions: Sequence[str]) -> str:
    """One row per case, subset and region, as tab-separated text.

    Args:
        subjects: name of the case of each of the N rows of `scores`.
        subsets: modalities it was segmented from.
        scores: `(N, R, S)`, columns as in `RegionScoresMetric`.
        regions: names of the R regions.
    """
    rows = (
        [subject, subset, region, *map(number_text, scores[row, column].tolist())]
        for row, (subject, subset) in enumerate(zip(subjects, subsets, strict=True))
        for column, region in enumerate(regions)
    )
    return table_text(["subject", "modalities", "region", *_columns(scores)], rows)


def region_summary(
    subjects: Sequence[str], subsets: Sequence[str], scores: torch.Tensor, regions: Sequence[str]
) -> str:
    """Mean and standard deviation over the cases, one row per subset and region; arguments as in `region_table`."""
    values = torch.cat([scores, scores.mean(dim=1, keepdim=True)], dim=1).double()
    names, order = [*regions, MEAN], list(dict.fromkeys(subsets))
    rows = []
    for subset in order:
        chosen = values[[index for index, other in enumerate(subsets) if other == subset]]
        rows += [[subset, *row] for row in _moments(chosen, names)]
    if len(order) > 1:
        by_case = [
            values[[index for index, other in enumerate(subjects) if other == subject]].mean(dim=0)
            for subject in dict.fromkeys(subjects)
        ]
        rows += [[ALL_SUBSETS, *row] for row in _moments(torch.stack(by_case), names)]
    moments = [f"{name}_{moment}" for name in _columns(scores) for moment in ("mean", "sd")]
    return table_text(["modalities", "region", "n", *moments], rows)


def write_region_tables(
    folder: str | Path, subjects: Sequence[str], subsets: Sequence[str], scores: torch.Tensor, regions: Sequence[str]
) -> None:
    """Write `scores.tsv`, `summary.tsv` and `scores.json`, which explains their columns; arguments as above.

    Raises:
        OutputError: the folder cannot be written to.
    """
    notes = REGION_NOTES | (LESION_NOTES if len(_columns(scores)) > len(REGION_SCORES) else {})
    case = (subjects, subsets, scores, regions)
    write_scores(folder, notes, region_table(*case), region_summary(*case))
    means = zip(regions, scores[:, :, :2].mean(dim=0).tolist(), strict=True)
    text = ", ".join(f"{name} DSC {dsc:.3f} HD95 {hd95:.1f} mm" for name, (dsc, hd95) in means)
    logger.info("Means: %s. %s", text, EMPTY_RULE)


def _columns(scores: torch.Tensor) -> tuple[str, ...]:
    return (REGION_SCORES + LESION_SCORES)[: scores.shape[2]]


def _moments(values: torch.Tensor, names: Sequence[str]) -> list[list]:
    """Rows of name, n, and mean and sd of each score, from `(n, R, S)`."""
    return [[name, len(values), *moment_cells(values[:, row])] for row, name in enumerate(names)]
