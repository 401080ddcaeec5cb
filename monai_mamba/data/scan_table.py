"""What is known of the scans of a data set: persons, folds, what their label maps lack."""

from __future__ import annotations

import csv
import fnmatch
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_mamba.errors import InputError

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
        InputError: the table cannot be read, lacks a pair, or no pair is left.
    """
    rows = _read(Path(table).expanduser()) if table else {}
    left = [pair for pair in pairs if not (leave_out and fnmatch.fnmatchcase(pair["subject"], leave_out))]
    if not left:
        raise InputError(f"leave_out is '{leave_out}', which leaves out all {len(pairs)} scans.")
    unknown = [pair["subject"] for pair in left if table and pair["subject"] not in rows]
    if unknown:
        raise InputError(
            f"{table}: {len(unknown)} of {len(left)} scans have no row, first {unknown[0]}. Add them, leave them out "
            "with --leave_out, or train without a table: --scan_table None."
        )
    return [{"missing": "", "draws": 1.0, **pair, **rows.get(pair["subject"], {})} for pair in left]


def split_fold(pairs: Sequence[dict[str, Any]], fold: int | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Divide pairs into those to train on and those of a fold.

    Args:
        pairs: what `describe_pairs` returned.
        fold: the fold that is held out; None trains on all of them.

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
    """How often each scan, and then each label map for synthetic images, is drawn; the sum is 1.

    Args:
        pairs: scans, of which `draws` says how often each is drawn, compared with the others (1 where it is absent).
        maps: label maps, drawn equally often.
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


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t")
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
                raise InputError(f"{path}: there is no column {missing[0]}; expected {', '.join(COLUMNS)}.")
            rows = {row["subject"]: row for row in reader}
            return {
                name: {
                    "person": row["person"],
                    "fold": int(row["fold"]),
                    "missing": row["missing"],
                    "draws": float(row["draws"]),
                }
                for name, row in rows.items()
            }
    except (OSError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise InputError(f"{path}: no table of scans ({error}). Expected a TSV file: {', '.join(COLUMNS)}.") from error
