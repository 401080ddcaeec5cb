"""Grades of results by their table of volumes."""

from __future__ import annotations

from pathlib import Path

import pytest

import monai_mamba
from monai_mamba.data.quality import COLUMNS, QualityLimits
from monai_mamba.errors import InputError
from monai_mamba.labels import LabelTable

LIMITS = QualityLimits(
    {
        10: (5000, 12000, 0.3, 0.7),
        49: (5000, 12000, 0.3, 0.7),
        16: (12000, 35000, 0.0, 0.7),
        24: (0, 8000, 0.0, 0.3),
        17: (2000, 6000, 0.4, 0.7),
    }
)
NAMES = {10: "Left-Thalamus", 49: "Right-Thalamus", 16: "Brain-Stem", 24: "CSF", 17: "Left-Hippocampus"}


def table(folder: Path, **changes: tuple[float, str]) -> Path:
    """Volumes of a usual head, some changed."""
    usual = {10: (7000, "0.9"), 49: (7200, "0.9"), 16: (20000, "0.9"), 24: (900, "0.6"), 17: (4000, "0.9")}
    usual |= {int(name[1:]): value for name, value in changes.items()}
    lines = [f"{label}\t{NAMES[label]}\t{int(mm3)}\t{mm3}\t{mm3}\t{dsc}" for label, (mm3, dsc) in usual.items()]
    path = folder / "volumes.tsv"
    path.write_text("\n".join(["id\tname\tvoxels\tmm3\tmm3_soft\texpected_dsc", *lines]) + "\n")
    return path


@pytest.mark.parametrize(
    ("changes", "grade", "reason"),
    [
        ({}, "pass", ""),
        ({"_24": (0, "n/a")}, "pass", ""),
        ({"_17": (0, "n/a")}, "look", "1 of 5 structures are unusual: Left-Hippocampus (not found)"),
        ({"_16": (40000, "0.9")}, "look", "Brain-Stem (40000 mm3, usual are 12000 to 35000)"),
        ({"_10": (5100, "0.9"), "_49": (9000, "0.9")}, "fail", "Left-Thalamus (5100 mm3, on the other side 9000)"),
        ({"_17": (4000, "0.5")}, "look", "Left-Hippocampus (expected DSC 0.5)"),
        ({"_17": (0, "n/a"), "_16": (9, "0.9")}, "fail", "2 of 5 structures are unusual"),
    ],
)
def test_one_odd_structure_is_to_be_looked_at_and_a_third_of_them_is_wrong(tmp_path, changes, grade, reason):
    quality = LIMITS.rate(table(tmp_path, **changes))
    assert quality.grade == grade
    assert reason in quality.reason
    assert bool(quality.reason) == (grade != "pass")


def test_limits_that_ship_are_of_structures_of_the_bundle():
    limits = QualityLimits.load(Path(monai_mamba.bundle_root("subcortical"), "configs", "quality.tsv")).limits
    ids = {entry.id for entry in LabelTable.load("subcortical").structures}
    assert ids - {24, 77} <= set(limits) <= ids
    assert all(low < high and asymmetry >= 0 and 0 < dsc < 1 for low, high, asymmetry, dsc in limits.values())


@pytest.mark.parametrize("text", ["", "id\tlow_mm3\n1\t2\n", "\t".join(COLUMNS) + "\n10\ta\t1\t1\t1\n"])
def test_a_file_without_limits_is_refused(tmp_path, text):
    (tmp_path / "quality.tsv").write_text(text)
    if not text:
        (tmp_path / "quality.tsv").unlink()
    with pytest.raises(InputError, match="no table of limits"):
        QualityLimits.load(tmp_path / "quality.tsv")
