"""Grades of results by their table of volumes."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import monai_mamba
from monai_mamba.data.quality import COLUMNS, QualityLimits
from monai_mamba.errors import InputError
from monai_mamba.labels import LabelTable, RegionTable

HEAD = {
    "Left-Thalamus": (7000, "0.9"),
    "Right-Thalamus": (7200, "0.9"),
    "Brain-Stem": (20000, "0.9"),
    "CSF": (900, "0.6"),
    "Left-Hippocampus": (4000, "0.9"),
}
LIMITS = QualityLimits(
    {
        "Left-Thalamus": (5000, 12000, 0.3, 0.7),
        "Right-Thalamus": (5000, 12000, 0.3, 0.7),
        "Brain-Stem": (12000, 35000, 0.0, 0.7),
        "CSF": (0, 8000, 0.0, 0.3),
        "Left-Hippocampus": (2000, 6000, 0.4, 0.7),
    }
)


def table(folder: Path, rows: dict[str, tuple[float, str]]) -> Path:
    """A table of volumes in mm3 and expected DSC by name."""
    lines = [f"{name}\t{mm3}\t{expected}" for name, (mm3, expected) in rows.items()]
    path = folder / "volumes.tsv"
    path.write_text("\n".join(["name\tmm3\texpected_dsc", *lines]) + "\n")
    return path


@pytest.mark.parametrize(
    ("changes", "grade", "reason"),
    [
        ({}, "pass", ""),
        ({"CSF": (0, "n/a")}, "pass", ""),
        ({"Left-Hippocampus": (0, "n/a")}, "look", "1 of 5 structures are unusual: Left-Hippocampus (not found)"),
        ({"Brain-Stem": (40000, "0.9")}, "look", "Brain-Stem (40000 mm3, usual are 12000 to 35000)"),
        (
            {"Left-Thalamus": (5100, "0.9"), "Right-Thalamus": (9000, "0.9")},
            "look",
            "1 of 5 structures are unusual: Left-Thalamus (5100 mm3, on the other side 9000)",
        ),
        ({"Left-Hippocampus": (4000, "0.5")}, "look", "Left-Hippocampus (expected DSC 0.5)"),
        ({"Left-Hippocampus": (0, "n/a"), "Brain-Stem": (9, "0.9")}, "look", "2 of 5 structures are unusual"),
        (
            {"Left-Hippocampus": (0, "n/a"), "Brain-Stem": (9, "0.9"), "CSF": (9000, "0.9")},
            "fail",
            "3 of 5 structures are unusual",
        ),
    ],
)
def test_one_odd_structure_is_to_be_looked_at_and_a_third_but_three_at_least_are_wrong(
    tmp_path, changes, grade, reason
):
    quality = LIMITS.rate(table(tmp_path, HEAD | changes))
    assert quality.grade == grade
    assert reason in quality.reason
    assert bool(quality.reason) == (grade != "pass")


def test_a_table_that_cannot_be_read_is_no_pass(tmp_path):
    path = table(tmp_path, HEAD)
    path.write_text(path.read_text().replace("7000", "many"))
    assert LIMITS.rate(path).grade == "fail"
    assert "cannot be read (could not convert string to float: 'many')" in LIMITS.rate(path).reason
    path = table(tmp_path, HEAD)
    path.write_text(path.read_text() + path.read_text().splitlines()[-1])
    assert LIMITS.rate(path).grade == "fail"
    assert "has 2 rows, expected one" in LIMITS.rate(path).reason


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_what_is_no_finite_number_is_no_pass_and_no_limit(tmp_path, number):
    path = table(tmp_path, HEAD)
    path.write_text(path.read_text().replace("7000", "n/a"))
    assert LIMITS.rate(path).grade == "fail"
    path = table(tmp_path, HEAD)
    path.write_text(path.read_text().replace("7000", number))
    assert LIMITS.rate(path).grade == "fail"
    path.write_text("\t".join(COLUMNS) + f"\nCSF\t0\t{number}\t1\t0.5\n")
    with pytest.raises(InputError, match=f"not a table of limits \\({number} is not a finite number\\)"):
        QualityLimits.load(path)


@pytest.mark.parametrize(("voxel_mm", "grade"), [(1.0, "pass"), (1.25, "look"), (0.8, "look")])
def test_a_head_of_another_size_is_to_be_looked_at(tmp_path, voxel_mm, grade):
    """FreeSurfer's labels of the scan that ships, as if its voxels of 1 mm were larger or smaller by the header."""
    labels = Path(monai_mamba.bundle_root("subcortical"), "sample_data", "sub-0001_desc-aseg_dseg.nii.gz")
    counts = np.bincount(np.asarray(nib.load(labels).dataobj).astype(int).ravel(), minlength=100)
    structures = LabelTable.load("subcortical").structures
    rows = {entry.name: (counts[entry.id] * voxel_mm**3, "0.9") for entry in structures}
    quality = shipped("subcortical").rate(table(tmp_path, rows))
    assert quality.grade == grade
    assert ("times their usual volume: check the voxel size" in quality.reason) == (grade == "look")


def shipped(bundle: str) -> QualityLimits:
    return QualityLimits.load(Path(monai_mamba.bundle_root(bundle), "configs", "quality.tsv"))


def test_limits_that_ship_are_of_structures_of_the_bundles():
    names = {entry.name for entry in LabelTable.load("subcortical").structures}
    limits = shipped("subcortical").limits
    assert names - {"CSF", "WM-hypointensities"} <= set(limits) <= names
    assert all(low < high and asymmetry >= 0 and 0 < dsc < 1 for low, high, asymmetry, dsc in limits.values())
    parts = {entry.name for entry in LabelTable.load("hippocampus_head_tail").structures}
    assert set(shipped("hippocampal_subfields").limits) == parts
    regions = RegionTable.load("brats2023")
    titles = {f"{region.title} ({region.name})" for region in regions.regions}
    assert set(shipped("brats_multimodal").limits) == titles | {entry.name for entry in regions.labels.structures}


HIPPOCAMPI = {
    "hippocampi of usual size": ((1700, 1600, 1750, 1580), "pass"),
    "hippocampi that are small on both sides": ((900, 800, 850, 820), "pass"),
    "a hippocampus of which little is left": ((700, 650, 1900, 1700), "look"),
    "a part of a hippocampus that is not found": ((0, 1600, 1750, 1580), "look"),
    "specks for hippocampi": ((200, 150, 180, 100), "fail"),
    "hippocampi of twice the size": ((9000, 8000, 9500, 8800), "fail"),
}


@pytest.mark.parametrize("case", HIPPOCAMPI)
def test_hippocampi(case, tmp_path):
    volumes, grade = HIPPOCAMPI[case]
    names = [entry.name for entry in LabelTable.load("hippocampus_head_tail").structures]
    rows = {name: (volume, "0.9" if volume else "n/a") for name, volume in zip(names, volumes, strict=True)}
    assert shipped("hippocampal_subfields").rate(table(tmp_path, rows)).grade == grade


ALL = "FLAIR+T1+T1ce+T2"
TUMORS = {  # ml of necrotic core, edema, enhancing tumor
    "a tumor of usual size": ((10, 60, 20), ALL, "pass"),
    "a tumor without enhancement": ((15, 40, 0), ALL, "pass"),
    "a large tumor": ((78, 117, 40), ALL, "pass"),
    "FLAIR and T1ce only": ((10, 60, 20), "FLAIR+T1ce", "pass"),
    "no FLAIR": ((10, 60, 20), "T1+T1ce+T2", "look"),
    "no T1ce": ((10, 60, 0), "FLAIR+T1+T2", "look"),
    "T1 only, in which no tumor is found": ((0, 0, 0), "T1", "look"),
    "no tumor": ((0, 0, 0), ALL, "look"),
    "edema in a third of the brain": ((5, 420, 5), ALL, "look"),
    "a tumor of most of the brain": ((250, 350, 300), ALL, "fail"),
}
REASONS = {
    "no FLAIR": "1 of 6 structures are unusual: Whole tumor (WT) (found without FLAIR)",
    "no T1ce": "1 of 6 structures are unusual: Enhancing tumor (ET) (not found, without T1ce)",
    "no tumor": "1 of 6 structures are unusual: Whole tumor (WT) (not found)",
}


@pytest.mark.parametrize("case", TUMORS)
def test_tumors(case, tmp_path):
    (necrosis, edema, enhancing), modalities, grade = TUMORS[case]
    rows = {
        "Tumor core (TC)": necrosis + enhancing,
        "Whole tumor (WT)": necrosis + edema + enhancing,
        "Enhancing tumor (ET)": enhancing,
        "Necrotic tumor core": necrosis,
        "Peritumoral edema": edema,
        "Enhancing tumor": enhancing,
    }
    path = tmp_path / "volumes.tsv"  # a table of regions has no expected DSC
    lines = [f"{name}\t{1000 * volume}\t{modalities}" for name, volume in rows.items()]
    path.write_text("\n".join(["name\tmm3\tmodalities", *lines]) + "\n")
    quality = shipped("brats_multimodal").rate(path)
    assert quality.grade == grade
    assert quality.reason == REASONS.get(case, quality.reason)


FIRST_LINE = "\t".join(COLUMNS) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name\tlow_mm3\nCSF\t2\n",
        f"{FIRST_LINE}CSF\ta\t1\t1\t1\n",
        FIRST_LINE,
        f"{FIRST_LINE}CSF\t2\t1\t1\t1\n",
        FIRST_LINE + "CSF\t1\t2\t1\t1\n" * 2,
        f"{FIRST_LINE}CSF\tn/a\tn/a\tn/a\tn/a\n",
        f"{FIRST_LINE}CSF\t1\t2\t-1\t1\n",
    ],
)
def test_a_file_without_limits_is_refused(tmp_path, text):
    (tmp_path / "quality.tsv").write_text(text)
    if not text:
        (tmp_path / "quality.tsv").unlink()
    with pytest.raises(InputError, match="not a table of limits"):
        QualityLimits.load(tmp_path / "quality.tsv")
