"""What is known of the scans of a data set: persons, folds, what their label maps lack."""

from __future__ import annotations

import fnmatch
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_mamba.errors import InputError
from monai_mamba.files import read_tsv

COLUMNS = ("subject", "person", "fold", "missing", "draws")

logger = logging.getLogger(__name__)


def describe_pairs(
    pairs: Sequence[dict[str, Any]], table: str | Path | None = None, leave_out: str | None = None
) -> list[dict[str, Any]]:
    """Add to pairs what a table says of them.

    Args:
        pairs: what `find_pairs` returned.
        table: TSV file with a row for each pair and the columns `subject` (its name), `person` (scans of one person
            share it), `fold` (whole number from 0), `missing` (ids that the label map does not know, separated by
            commas), `draws` (how often it is drawn, compared with the others). Without one, every subject is a person
            in no fold whose label map knows every class.
        leave_out: names to leave out, a pattern such as `oasis1-*`.

    Returns:
        The pairs that are left, with the columns as further entries.

    Raises:
        InputError: the table cannot be read, lacks a pair, or no pair, or every one, is left.
    """
    rows = _read(table) if table else {}
    left = [pair for pair in pairs if not (leave_out and fnmatch.fnmatchcase(pair["subject"], leave_out))]
    if not left:
        raise InputError(f"leave_out is '{leave_out}', which leaves out all {len(pairs)} scans.")
    if leave_out and len(left) == len(pairs):
        raise InputError(
            f"--leave_out is '{leave_out}', and none of the {len(pairs)} scans has such a name. They are called as "
            f"{left[0]['subject']}."
        )
    unknown = [pair["subject"] for pair in left if table and pair["subject"] not in rows]
    if unknown:
        raise InputError(
            f"{table}: {len(unknown)} of {len(left)} scans have no row, first {unknown[0]}. Add them, leave them out "
            "with --leave_out, or train without a table: --scan_table None."
        )
    return [{"missing": "", "draws": 1.0, **pair, **rows.get(pair["subject"], {})} for pair in left]


def split_fold(pairs: Sequence[dict[str, Any]], fold: int | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Divide what `describe_pairs` returned into pairs to train on and those of a fold; None trains on all of them.

    Raises:
        InputError: the fold is empty or holds everything, or a person is in several folds.
    """
    if fold is None:
        return list(pairs), []
    folds: dict[str, set] = {}
    for pair in pairs:
        folds.setdefault(pair.get("person", pair["subject"]), set()).add(pair.get("fold"))
    for person, found in folds.items():
        if len(found) > 1:
            raise InputError(f"Scans of {person} are in several folds ({found}). Put all scans of a person into one.")
    inside = [pair for pair in pairs if pair.get("fold") == fold]
    if not inside or len(inside) == len(pairs):
        known = sorted({found for pair in pairs if (found := pair.get("fold")) is not None})
        raise InputError(
            f"--fold is {fold}: it holds {len(inside)} of {len(pairs)} scans. The table has the folds {known}; "
            "--fold None trains on all scans."
        )
    return [pair for pair in pairs if pair.get("fold") != fold], inside


def draw_weights(pairs: Sequence[dict[str, Any]], maps: Sequence[str], synthetic_fraction: float) -> list[float]:
    """How often each scan, by its `draws` (1 where absent), and then each label map is drawn; the sum is 1.

    Args:
        pairs: scans.
        maps: label maps for synthetic images, drawn equally often.
        synthetic_fraction: share of synthetic images, 0 to 1, where there are both.

    Raises:
        InputError: the share is out of range, or there is nothing to draw.
    """
    if not 0 <= synthetic_fraction <= 1:
        raise InputError(f"--synthetic_fraction is {synthetic_fraction}, expected a number from 0 to 1, such as 0.15.")
    if not pairs and not maps:
        raise InputError("Nothing to train on: set --dataset_dir to labeled scans, or --label_maps to label maps.")
    synthetic = synthetic_fraction if pairs and maps else float(not pairs)
    draws = [float(pair.get("draws", 1.0)) for pair in pairs]
    return [(1 - synthetic) * each / sum(draws) for each in draws] + [synthetic / len(maps) for _ in maps]


def _read(path: str | Path) -> dict[str, dict[str, Any]]:
    try:
        rows = read_tsv(path, "subject")
        if rows and (missing := [name for name in COLUMNS if name not in rows[0]]):
            raise ValueError(f"there is no column {missing[0]}")
        numbers = {"fold": int, "draws": float}
        if odd := [row["subject"] for row in rows if not 0 < float(row["draws"]) < math.inf]:
            raise ValueError(f"'draws' of {odd[0]} is not above 0")
        for row in rows:
            row["missing"] = ",".join(str(int(label)) for label in row["missing"].split(",") if label)
        return {row["subject"]: {name: numbers.get(name, str)(row[name]) for name in COLUMNS[1:]} for row in rows}
    except (OSError, ValueError, TypeError, AttributeError) as error:  # the last two: a row that is too short
        raise InputError(f"{path}: not a table of scans ({error}). Expected columns: {', '.join(COLUMNS)}.") from error
