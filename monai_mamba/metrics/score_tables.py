"""Scores as tables: one row per scan and structure, and a summary per structure."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from monai_mamba.errors import writing
from monai_mamba.files import MISSING, table_text, write_text
from monai_mamba.labels import LabelEntry
from monai_mamba.metrics.structure_scores import ABSENT_RULE, SCORES, mean_over_scans

logger = logging.getLogger(__name__)

ALL = "mean over structures"
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


def score_table(subjects: Sequence[str], scores: torch.Tensor, structures: Sequence[LabelEntry]) -> str:
    """One row per scan and structure, as tab-separated text; arguments as in `write_score_tables`."""
    rows = [
        [subject, entry.id, entry.name, *map(number_text, values)]
        for subject, case in zip(subjects, scores.tolist(), strict=True)
        for entry, values in zip(structures, case, strict=True)
    ]
    return table_text(["subject", "id", "name", *SCORES], rows)


def summary_table(scores: torch.Tensor, structures: Sequence[LabelEntry]) -> str:
    """Mean and standard deviation over the scans, a row per structure and one for all, as tab-separated text."""
    return table_text(SUMMARY_COLUMNS, summary_rows(scores, structures))


def summary_rows(scores: torch.Tensor, structures: Sequence[LabelEntry]) -> list[list]:
    """Rows of `summary_table`, with the columns `SUMMARY_COLUMNS`."""
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
    notes = {**COLUMN_NOTES, "grid": grid}
    write_scores(folder, notes, score_table(subjects, scores, structures), summary_table(scores, structures))
    means = zip(SCORES, mean_over_scans(scores).nanmean(dim=0), strict=True)
    logger.info("Means: %s. %s", ", ".join(f"{name} {value:.3f}" for name, value in means), ABSENT_RULE)


def write_scores(folder: str | Path, notes: Mapping[str, str], scores: str, summary: str) -> None:
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
    return row + moment_cells(values)


def moment_cells(values: torch.Tensor) -> list[str]:
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
