"""Scores as tables: one row per case and structure or region, and a summary of each structure or region."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from monai_mamba.errors import writing
from monai_mamba.files import MISSING, table_text, write_text
from monai_mamba.labels import LabelEntry
from monai_mamba.metrics.region_scores import EMPTY_RULE, LESION_RULE, LESION_SCORES, REGION_SCORES
from monai_mamba.metrics.structure_scores import ABSENT_RULE, SCORES, mean_over_scans

logger = logging.getLogger(__name__)

ALL = "mean over structures"
MEAN, ALL_SUBSETS = "mean", "mean over subsets"  # of regions
MOMENTS = tuple(f"{name}_{moment}" for name in SCORES for moment in ("mean", "sd"))
SUMMARY_COLUMNS = ("id", "name", "n", "n_absent", "n_missing", *MOMENTS)

COLUMN_NOTES = {
    "subject": "Name of the scan.",
    "id": "Label id of the structure.",
    "name": "Name of the structure.",
    "dsc": "Dice similarity coefficient, 0..1.",
    "vs": "Volume similarity, 1 - |Vp - Vr| / (Vp + Vr), 0..1.",
    "assd_mm": "Average symmetric surface distance in mm.",
    "hd95_mm": "95 % Hausdorff distance in mm: the larger of the two directed 95th percentiles.",
    "n": "Scans with a DSC and a VS: the structure is in at least one of the two label maps.",
    "n_absent": "Scans left out because the structure is in neither label map.",
    "n_missing": "Scans of n whose distances are missing because the structure is in one label map only.",
    "*_mean, *_sd": "Mean and standard deviation (n - 1) over the scans that have a value.",
    ALL: "Last row: the structures of each scan are averaged first. n counts scans; n_absent and n_missing are sums "
    "of the rows above.",
    "absent structures": ABSENT_RULE,
}
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


def summary_rows(scores: torch.Tensor, structures: Sequence[LabelEntry]) -> list[list]:
    """Mean and standard deviation over the scans: a row per structure and one for all, columns `SUMMARY_COLUMNS`."""
    rows = [_summary(entry.id, entry.name, scores[:, row]) for row, entry in enumerate(structures)]
    overall = _summary(MISSING, ALL, mean_over_scans(scores))
    # Counts of structures are not counts of scans: the last row says how many (scan, structure) pairs they are.
    overall[3] = sum(row[3] for row in rows)
    overall[4] = sum(row[4] for row in rows)
    return [*rows, overall]


def write_score_tables(
    folder: str | Path, subjects: Sequence[str], scores: torch.Tensor, structures: Sequence[LabelEntry], grid: str
) -> None:
    """Write `scores.tsv`, `summary.tsv` and `scores.json`, which explains their columns; each appears only complete.

    Args:
        folder: made if it does not exist.
        subjects: names of the N scans.
        scores: `(N, C, 4)`, columns as in `SCORES`, NaN where missing.
        structures: the C structures.
        grid: on which grid the label maps were compared, in words.

    Raises:
        OutputError: the folder cannot be written to.
    """
    table = _score_table(
        ["subject", "id", "name", *SCORES], [(name,) for name in subjects], [(e.id, e.name) for e in structures], scores
    )
    summary = table_text(SUMMARY_COLUMNS, summary_rows(scores, structures))
    _write(folder, {**COLUMN_NOTES, "grid": grid}, table, summary)
    means = zip(SCORES, mean_over_scans(scores).nanmean(dim=0), strict=True)
    logger.info("Means: %s. %s", ", ".join(f"{name} {value:.3f}" for name, value in means), ABSENT_RULE)


def write_region_tables(
    folder: str | Path, subjects: Sequence[str], subsets: Sequence[str], scores: torch.Tensor, regions: Sequence[str]
) -> None:
    """Write `scores.tsv`, `summary.tsv` and `scores.json` for tumor regions; each appears only complete.

    Args:
        folder: made if it does not exist.
        subjects: name of the case of each of the N rows of `scores`.
        subsets: modalities it was segmented from.
        scores: `(N, R, S)`, columns as in `RegionScoresMetric`.
        regions: names of the R regions.

    Raises:
        OutputError: the folder cannot be written to.
    """
    columns = (REGION_SCORES + LESION_SCORES)[: scores.shape[2]]
    notes = REGION_NOTES | (LESION_NOTES if len(columns) > len(REGION_SCORES) else {})
    cases, parts = list(zip(subjects, subsets, strict=True)), [(name,) for name in regions]
    table = _score_table(["subject", "modalities", "region", *columns], cases, parts, scores)
    moments = [f"{name}_{moment}" for name in columns for moment in ("mean", "sd")]
    summary = table_text(["modalities", "region", "n", *moments], _region_rows(cases, scores, regions))
    _write(folder, notes, table, summary)
    means = zip(regions, scores[:, :, :2].mean(dim=0).tolist(), strict=True)
    text = ", ".join(f"{name} DSC {dsc:.3f} HD95 {hd95:.1f} mm" for name, (dsc, hd95) in means)
    logger.info("Means: %s. %s", text, EMPTY_RULE)


def _score_table(columns: Sequence[str], cases: Sequence[tuple], parts: Sequence[tuple], scores: torch.Tensor) -> str:
    """One row per case and part, as text: the cells of each of the N cases and C parts, and its scores `(N, C, S)`."""
    rows = [
        [*case, *part, *map(number_text, values)]
        for case, of_case in zip(cases, scores.tolist(), strict=True)
        for part, values in zip(parts, of_case, strict=True)
    ]
    return table_text(columns, rows)


def _region_rows(cases: Sequence[tuple[str, str]], scores: torch.Tensor, regions: Sequence[str]) -> list[list]:
    """Mean and standard deviation over the cases, a row per subset of modalities and region."""
    values = torch.cat([scores, scores.mean(dim=1, keepdim=True)], dim=1).double()
    groups: dict[str, list[torch.Tensor]] = defaultdict(list)
    of_subject: dict[str, list[torch.Tensor]] = defaultdict(list)
    for (subject, subset), case in zip(cases, values, strict=True):
        groups[subset].append(case)
        of_subject[subject].append(case)
    if len(groups) > 1:
        groups[ALL_SUBSETS] = [torch.stack(of_one).mean(dim=0) for of_one in of_subject.values()]
    return [
        [subset, name, len(members), *_moment_cells(torch.stack(members)[:, row])]
        for subset, members in groups.items()
        for row, name in enumerate([*regions, MEAN])
    ]


def _write(folder: str | Path, notes: Mapping[str, str], scores: str, summary: str) -> None:
    """Write two tables, and notes on their columns, under the names that all evaluations use."""
    files = {"scores.json": json.dumps(notes, indent=2) + "\n", "scores.tsv": scores, "summary.tsv": summary}
    with writing(f"{folder}: the scores"):
        for name, text in files.items():
            write_text(Path(folder) / name, text)
    logger.info("Scores written to %s.", folder)


def _summary(label: int | str, name: str, values: torch.Tensor) -> list:
    """Row of the summary from `(N, 4)` values."""
    there, distances = ~values[:, 0].isnan(), ~values[:, SCORES.index("assd_mm")].isnan()
    row = [label, name, int(there.sum()), int((~there).sum()), int((there & ~distances).sum())]
    return row + _moment_cells(values)


def _moment_cells(values: torch.Tensor) -> list[str]:
    """Mean and standard deviation of each column of `(N, S)` scores, of the values that are not NaN."""
    cells = []
    for column in values.double().T:
        known = column[~column.isnan()]
        cells.append(number_text(known.mean().item()))
        cells.append(number_text(known.std().item() if len(known) > 1 else float("nan")))
    return cells


def number_text(value: float) -> str:
    """A number as the tables show it; NaN is missing."""
    return MISSING if value != value else f"{value:.6g}"
