"""The table `scores.tsv` that an evaluation of a bundle writes."""

from __future__ import annotations

from pathlib import Path

from monai_mamba.files import MISSING, read_tsv

KEYS = ("subject", "modalities", "region", "id", "name")
Case = tuple[str, str]  # its subject, and the modalities that the network was given, where there are several


def read_scores(path: Path) -> tuple[list[str], dict[Case, dict[str, list[float]]]]:
    """Names of the metrics, and their values by case and by structure or region, NaN where there is none.

    Raises:
        OSError, ValueError, LookupError, TypeError, AttributeError: it cannot be read, or is no such table.
    """
    rows = read_tsv(path)
    metrics = [name for name in rows[0] if name not in KEYS]
    cases: dict[Case, dict[str, list[float]]] = {}
    for row in rows:
        case = cases.setdefault((row["subject"], row.get("modalities", "")), {})
        structure = row["region"] if "region" in row else row["name"]
        if structure in case:
            raise ValueError(f"{row['subject']} has two rows of {structure}")
        case[structure] = [float(row[name].replace(MISSING, "nan")) for name in metrics]
    return metrics, cases
