"""Whether the results of a scan can be right: structures found, volumes, symmetry and expected overlap."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

from monai_mamba.errors import InputError
from monai_mamba.files import MISSING, read_tsv
from monai_mamba.labels import other_side

COLUMNS = ("name", "low_mm3", "high_mm3", "high_asymmetry", "low_expected_dsc")
NEEDED = "needs"  # a further column where there are modalities
# A head has few structures that are odd, nonsense has many; a lesion changes a structure, or the parts of one.
FAILING_SHARE, FAILING_COUNT = 1 / 3, 3
# Median over the structures of a head of volume by middle of the limits: 0.75 to 1.27 in 51 label maps of FreeSurfer
# and SynthSeg. Voxels of 0.8 mm that a header calls 1 mm make it 1.95 times as large.
HEAD_STRUCTURES, SMALLEST_HEAD, LARGEST_HEAD = 10, 0.65, 1.45
NAMED = 4  # structures that a reason names

logger = logging.getLogger(__name__)

Limits = tuple[float, float, float, float]


class Quality(NamedTuple):
    """What the results of a scan look like.

    Attributes:
        grade: `"pass"`, `"look"` (odd: look at the picture) or `"fail"` (probably wrong).
        reason: why, empty for `"pass"`.
    """

    grade: Literal["pass", "look", "fail"]
    reason: str

    def log(self, name: str) -> None:
        """Warn where the results of a scan, which messages call `name`, do not pass."""
        if self.grade != "pass":
            what = "look at the result" if self.grade == "look" else "the result is probably wrong"
            logger.warning("%s: %s: %s.", name, what, self.reason)


@dataclass(frozen=True)
class QualityLimits:
    """Limits of each structure or region of a bundle; its README says where they come from.

    Attributes:
        limits: name -> smallest and largest volume in mm3, largest difference of left and right (relative to their
            mean), lowest expected DSC; NaN where there is no limit.
        needs: name -> the modality without which a region is not found well, where that is so.
    """

    limits: Mapping[str, Limits]
    needs: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> QualityLimits:
        """Read a TSV file with the columns `COLUMNS`, and maybe `NEEDED`; a cell `n/a` is no limit.

        Raises:
            InputError: it cannot be read.
        """
        try:
            rows = read_tsv(path, "name")
            limits = {row["name"]: tuple(_number(row[column]) for column in COLUMNS[1:]) for row in rows}
            numbers = [number for row in limits.values() for number in row if not math.isnan(number)]
            if not numbers:
                raise ValueError("it has no limits, so every result would pass")
            if min(numbers) < 0:
                raise ValueError(f"{min(numbers):g} is below 0")
            if odd := [name for name, (low, high, *_) in limits.items() if low > high]:
                raise ValueError(f"low_mm3 of {odd[0]} is above its high_mm3")
            needs = {row["name"]: row[NEEDED] for row in rows if row.get(NEEDED, MISSING) != MISSING}
            return cls(limits, needs)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: not a table of limits ({error}). Expected columns: {', '.join(COLUMNS)}."
            ) from error

    def rate(self, table: str | Path) -> Quality:
        """Grade the results of a scan by its table of volumes (`..._volumes.tsv`), see `rate_rows`."""
        try:
            return self.rate_rows(read_tsv(table, "name"))
        except (OSError, KeyError, TypeError, ValueError) as error:  # changed by hand: the other scans keep their grade
            return Quality("fail", f"the table of volumes cannot be read ({error})")

    def rate_rows(self, rows: Sequence[Mapping[str, str]]) -> Quality:
        """Grade the results of a scan by the rows of its table of volumes.

        A structure outside its limits, or without the modality that it needs (by the column `modalities`), is `look`, a
        third of them (three at least) `fail`. Of a pair that is too different, the smaller one is outside. What the
        column `doubts` says of the scan is `look`, and so are structures of a head that are all too large or small.

        Raises:
            KeyError, TypeError, ValueError: a row lacks a cell, or holds something else than a finite number.
        """
        volumes = {row["name"]: _finite(row["mm3"]) for row in rows if row.get("id") != MISSING}
        promised = {row["name"]: _number(row.get("expected_dsc", MISSING)) for row in rows}
        present = {row["name"]: str(row["modalities"]).split("+") for row in rows if "modalities" in row}
        doubts = list({str(row["doubts"]) for row in rows if row.get("doubts", MISSING) != MISSING})
        sizes = [
            volumes[name] / math.sqrt(low * high)
            for name, (low, high, *_) in self.limits.items()
            if low * high > 0 and volumes.get(name)
        ]
        if len(sizes) >= HEAD_STRUCTURES and not SMALLEST_HEAD <= (size := median(sizes)) <= LARGEST_HEAD:
            doubts.append(f"structures have {size:.1f} times their usual volume: check the voxel size in the header")
        odd = {}
        for name, (low, high, asymmetry, expected) in self.limits.items():
            if name not in volumes:
                odd[name] = "not in the table of volumes"
                continue
            volume, needed = volumes[name], self.needs.get(name)
            other = volumes.get(other_side(name), volume)
            if needed and needed not in present.get(name, [needed]):
                odd[name] = f"found without {needed}" if volume else f"not found, without {needed}"
            elif volume == 0 and low > 0:
                odd[name] = "not found"
            elif volume < low or volume > high:
                odd[name] = f"{volume:.0f} mm3, usual are {low:.0f} to {high:.0f}"
            elif other - volume > asymmetry * (volume + other) / 2:
                odd[name] = f"{volume:.0f} mm3, on the other side {other:.0f}"
            elif promised[name] < expected:
                odd[name] = f"expected DSC {promised[name]:g}"
        if odd:
            named = [f"{name} ({what})" for name, what in list(odd.items())[:NAMED]]
            more = f" and {len(odd) - NAMED} more" if len(odd) > NAMED else ""
            doubts.append(f"{len(odd)} of {len(self.limits)} structures are unusual: {', '.join(named)}{more}")
        failing = len(odd) >= max(FAILING_COUNT, FAILING_SHARE * len(self.limits))
        return Quality("fail" if failing else "look" if doubts else "pass", "; ".join(doubts))


def _number(text: str) -> float:
    return math.nan if text == MISSING else _finite(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number
