"""What is compared between scans, and what is usual in a cohort."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from monai_mamba.data.aseg_stats import ICV
from monai_mamba.labels import other_side, without_side
from monai_mamba.report.results import ScanResult

MIN_SCANS = 20  # fewer values do not tell what is usual
OUTLIER_Z = 3.5  # Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993), for the modified z-score
MAD_TO_SD = 1.4826  # of a normal distribution
Z_95 = 1.96
MEAN_DSC, LOWEST_DSC = "Mean expected DSC", "Lowest expected DSC"

UNITS = {"volume": "mm³", "asymmetry": "%", "expected_dsc": ""}

Kind = Literal["volume", "share", "asymmetry", "expected_dsc"]


@dataclass(frozen=True)
class Structure:
    """A structure, or the pair of it on both sides: its name without side, and its one or two `ScanResult.volumes`."""

    title: str
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Reference:
    """What is usual in a cohort: median and scaled median absolute deviation, of logarithms for volumes and shares.

    Volumes are ratios and skewed (ventricles!), so that their logarithms are closer to a normal distribution.

    Attributes:
        center: median, of the logarithms for volumes.
        spread: 1.4826 times the median absolute deviation from it, which is the standard deviation of normal values.
        log: whether both are of logarithms.
    """

    center: float
    spread: float
    log: bool

    @property
    def median(self) -> float:
        """Median, in the unit of the values."""
        return self._back(self.center)

    @property
    def low(self) -> float:
        """Lower end of the range of the middle 95 %, as far as the values are (log-)normal."""
        return self._back(self.center - Z_95 * self.spread)

    @property
    def high(self) -> float:
        """Upper end of it."""
        return self._back(self.center + Z_95 * self.spread)

    def z(self, value: float) -> float:
        """Distance from the median in spreads; minus infinity for a volume of 0."""
        if self.log and value <= 0:
            return -math.inf
        return ((math.log(value) if self.log else value) - self.center) / self.spread

    def _back(self, value: float) -> float:
        return math.exp(value) if self.log else value


@dataclass(frozen=True)
class Measure:
    """One figure of every scan of a cohort; `ids` are those of its structure, none for figures of the whole scan.

    Attributes:
        kind: volume, share of the intracranial volume or of the brain, asymmetry, or expected DSC, 0..1.
        unit: unit of the values.
        values: value of each scan, None where there is none.
        reference: what is usual, None for too few values or values without spread.
    """

    title: str
    kind: Kind
    unit: str
    ids: tuple[int, ...]
    values: tuple[float | None, ...]
    reference: Reference | None

    def z(self, scan: int) -> float | None:
        """Robust z-score of a scan; None without a reference or a value."""
        value = self.values[scan]
        return None if self.reference is None or value is None else self.reference.z(value)

    def is_outlier(self, scan: int) -> bool:
        """Whether a scan lies far from the others. An expected DSC is never too high."""
        z = self.z(scan)
        return z is not None and (z < -OUTLIER_Z or (z > OUTLIER_Z and self.kind != "expected_dsc"))


def asymmetry(left: float, right: float) -> float | None:
    """Left minus right in percent of their mean, -200..200, positive where the left is larger; None for 0 and 0."""
    return 200 * (left - right) / (left + right) if left + right > 0 else None


def whole_of(result: ScanResult) -> Literal["ICV", "brain"]:
    """What the percentages of a table of volumes refer to."""
    return "ICV" if any(volume.name == ICV for volume in result.volumes) else "brain"


def structures_of(result: ScanResult) -> list[Structure]:
    """Rows of a table of volumes with the two sides of a structure together, in the order of the table."""
    index = {volume.name: row for row, volume in enumerate(result.volumes)}
    structures = []
    for name, row in index.items():
        other = index.get(other_side(name), row)
        if other == row:
            structures.append(Structure(name, (row,)))
        elif name.startswith("Left"):
            structures.append(Structure(without_side(name), (row, other)))
    return structures


def reference_of(values: Sequence[float | None], kind: Kind) -> Reference | None:
    """What is usual among the values of the scans; None for fewer than `MIN_SCANS`, or where more than half are equal.

    Volumes of 0 are left out: where a structure is missing in a scan, that is no small volume. A structure that most
    scans lack has no reference.
    """
    known = [value for value in values if value is not None]
    log = kind in ("volume", "share")
    used = [math.log(value) for value in known if value > 0] if log else known
    if len(used) < max(MIN_SCANS, len(known) / 2):
        return None
    center = float(np.median(used))
    spread = MAD_TO_SD * float(np.median(np.abs(np.array(used) - center)))
    return Reference(center, spread, log) if spread > 0 else None


def measures_of(results: Sequence[ScanResult]) -> list[Measure]:
    """All figures of scans with the same structures: volumes, shares, asymmetries, and expected DSC."""
    found: list[Measure] = []
    units = UNITS | {"share": f"% of {whole_of(results[0])}"}

    def add(title: str, kind: Kind, ids: tuple[int, ...], values: list[float | None]) -> None:
        found.append(Measure(title, kind, units[kind], ids, tuple(values), reference_of(values, kind)))

    for row, (name, ids) in enumerate(results[0].structures):
        add(name, "volume", ids, [result.volumes[row].mm3 for result in results])
        # A structure that is missing is no small share: its volume says so already.
        shares = [result.volumes[row].percent or None for result in results]
        if any(share is not None for share in shares):
            add(name, "share", ids, shares)
    for structure in structures_of(results[0]):
        if len(structure.rows) == 2:
            left, right = structure.rows
            ids = results[0].volumes[left].ids
            values = [asymmetry(result.volumes[left].mm3, result.volumes[right].mm3) for result in results]
            add(structure.title, "asymmetry", ids, values)
    promised = [[v.expected_dsc for v in result.volumes if v.expected_dsc is not None] for result in results]
    add(MEAN_DSC, "expected_dsc", (), [float(np.mean(values)) if values else None for values in promised])
    add(LOWEST_DSC, "expected_dsc", (), [min(values, default=None) for values in promised])
    return found
