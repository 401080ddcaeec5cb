"""Whether the results of a scan can be right: structures found, volumes, symmetry and expected overlap."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from monai_mamba.errors import InputError
from monai_mamba.files import MISSING, read_tsv
from monai_mamba.labels import other_side

COLUMNS = ("name", "low_mm3", "high_mm3", "high_asymmetry", "low_expected_dsc")
# A head has few structures that are odd, nonsense has many; a lesion changes a structure, or the parts of one.
FAILING_SHARE, FAILING_COUNT = 1 / 3, 3
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
    """Limits of each structure or region of a bundle; its README says where they come from.

    Attributes:
        limits: name -> smallest and largest volume in mm3, largest difference of left and right (relative to their
            mean), lowest expected DSC; NaN where there is no limit.
    """

    limits: Mapping[str, Limits]

    @classmethod
    def load(cls, path: str | Path) -> QualityLimits:
        """Read a TSV file with the columns `COLUMNS`; a cell `n/a` is no limit.

        Raises:
            InputError: it cannot be read.
        """
        try:
            return cls({row["name"]: tuple(_number(row[column]) for column in COLUMNS[1:]) for row in read_tsv(path)})
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: no table of limits ({error}). Expected columns: {', '.join(COLUMNS)}."
            ) from error

    def rate(self, table: str | Path) -> Quality:
        """Grade the results of a scan by its table of volumes (`..._volumes.tsv`).

        A structure outside its limits is `look`, a third of them (three at least) `fail`. Of a pair that is too
        different, the smaller one is outside.
        """
        try:
            rows = read_tsv(table)
            volumes = {row["name"]: _number(row["mm3"]) for row in rows}
            promised = {row["name"]: _number(row.get("expected_dsc", MISSING)) for row in rows}
        except (OSError, KeyError, TypeError, ValueError) as error:  # changed by hand: the other scans keep their grade
            return Quality("fail", f"the table of volumes cannot be read ({error})")
        odd = {}
        for name, (low, high, asymmetry, expected) in self.limits.items():
            if name not in volumes:
                odd[name] = "not in the table of volumes"
                continue
            volume = volumes[name]
            other = volumes.get(other_side(name), volume)
            if volume == 0 and low > 0:
                odd[name] = "not found"
            elif volume < low or volume > high:
                odd[name] = f"{volume:.0f} mm3, usual are {low:.0f} to {high:.0f}"
            elif other - volume > asymmetry * (volume + other) / 2:
                odd[name] = f"{volume:.0f} mm3, on the other side {other:.0f}"
            elif promised[name] < expected:
                odd[name] = f"expected DSC {promised[name]:g}"
        if not odd:
            return Quality("pass", "")
        named = [f"{name} ({what})" for name, what in list(odd.items())[:NAMED]]
        more = f" and {len(odd) - NAMED} more" if len(odd) > NAMED else ""
        reason = f"{len(odd)} of {len(self.limits)} structures are unusual: {', '.join(named)}{more}"
        failing = len(odd) >= max(FAILING_COUNT, FAILING_SHARE * len(self.limits))
        return Quality("fail" if failing else "look", reason)


def _number(text: str) -> float:
    return math.nan if text == MISSING else float(text)
