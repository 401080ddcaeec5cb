"""Whether the results of a scan can be right: structures found, volumes, symmetry and expected overlap."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from monai_mamba.errors import InputError
from monai_mamba.files import MISSING

COLUMNS = ("id", "low_mm3", "high_mm3", "high_asymmetry", "low_expected_dsc")
FAILING_SHARE = 1 / 3  # of the structures outside their limits: a head has few that are odd, nonsense has many
OTHER = {"Left": "Right", "Right": "Left"}
NAMED = 4  # structures that a reason names

Limits = tuple[float, float, float, float]


class Quality(NamedTuple):
    """What the results of a scan look like.

    Attributes:
        grade: `"pass"`, `"look"` (odd: look at the picture) or `"fail"` (probably wrong).
        reason: why, empty for `"pass"`.
    """

    grade: Literal["pass", "look", "fail"]
    reason: str


@dataclass(frozen=True)
class QualityLimits:
    """Limits of each structure, as `tools/fit_quality_limits.py` writes them.

    Attributes:
        limits: id -> smallest and largest volume in mm3, largest difference of left and right (relative to their
            mean), lowest expected DSC.
    """

    limits: dict[int, Limits]

    @classmethod
    def load(cls, path: str | Path) -> QualityLimits:
        """Read a TSV file with the columns `COLUMNS`.

        Raises:
            InputError: it cannot be read.
        """
        try:
            with Path(path).open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file, delimiter="\t"))
            return cls({int(row["id"]): tuple(float(row[name]) for name in COLUMNS[1:]) for row in rows})
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: no table of limits ({error}). Expected columns: {', '.join(COLUMNS)}."
            ) from error

    def rate(self, table: str | Path) -> Quality:
        """Grade the results of a scan by its table of volumes (`..._volumes.tsv`).

        A third of the structures outside their limits is `fail`, a single one `look`.
        """
        with Path(table).open(encoding="utf-8", newline="") as file:
            rows = {int(row["id"]): row for row in csv.DictReader(file, delimiter="\t")}
        volumes = {row["name"]: float(row["mm3"]) for row in rows.values()}
        odd = {}
        for label, (low, high, asymmetry, expected) in self.limits.items():
            if (row := rows.get(label)) is None:
                odd[str(label)] = "not in the table of volumes"
                continue
            name, volume = row["name"], float(row["mm3"])
            other = volumes.get(re.sub("^(Left|Right)", lambda side: OTHER[side[0]], name), volume)
            if volume == 0 and low > 0:
                odd[name] = "not found"
            elif not low <= volume <= high:
                odd[name] = f"{volume:.0f} mm3, usual are {low:.0f} to {high:.0f}"
            elif volume + other and abs(volume - other) > asymmetry * (volume + other) / 2:
                odd[name] = f"{volume:.0f} mm3, on the other side {other:.0f}"
            elif row["expected_dsc"] != MISSING and float(row["expected_dsc"]) < expected:
                odd[name] = f"expected DSC {row['expected_dsc']}"
        if not odd:
            return Quality("pass", "")
        named = [f"{name} ({what})" for name, what in list(odd.items())[:NAMED]]
        more = f" and {len(odd) - NAMED} more" if len(odd) > NAMED else ""
        reason = f"{len(odd)} of {len(self.limits)} structures are unusual: {', '.join(named)}{more}"
        return Quality("fail" if len(odd) >= FAILING_SHARE * len(self.limits) else "look", reason)
