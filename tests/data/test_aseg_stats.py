"""FreeSurfer's statistics, read back as the programs that know the format do."""

from __future__ import annotations

import numpy as np
import pytest

from monai_mamba.data.aseg_stats import aseg_stats
from monai_mamba.labels import LabelTable, brain_measures, measure_brain

TABLE = LabelTable.load("subcortical", auxiliary=True)
# Key and name of the measures that `asegstats2table` of FreeSurfer 7 looks for and that need no surface.
KNOWN = {"EstimatedTotalIntraCranialVol": "eTIV", "BrainSeg": "BrainSegVol", "BrainSegNotVent": "BrainSegVolNotVent"}
KNOWN |= {key: f"{key}Vol" for key in ("lhCortex", "rhCortex", "Cortex", "SubCortGray", "TotalGray")}
KNOWN |= {key: f"{key}Vol" for key in ("lhCerebralWhiteMatter", "rhCerebralWhiteMatter", "CerebralWhiteMatter")}


def read(text: str) -> tuple[dict[str, float], dict[int, dict[str, str]]]:
    """Measures by name and rows by id, by what readers of the format rely on.

    FreeSurfer's `asegstats2table` takes every line without # for a row, of which it reads the second, fourth and fifth
    word, keeps rows apart by their names, and finds a measure by its key and name at the start of a line, its value
    behind the third comma. `read_aseg_stats` of the R package freesurfer begins at the subject, splits measures at
    commas into five columns, and takes all lines behind ColHeaders, which name their columns, for rows.
    """
    lines = text.splitlines()
    assert lines[0] == "# Title Segmentation Statistics"
    (subject,) = (index for index, line in enumerate(lines) if line.startswith("# subjectname "))
    (header,) = (index for index, line in enumerate(lines) if line.startswith("# ColHeaders "))
    keys, measures = {}, {}
    for index, line in enumerate(lines):
        if "Measure" in line.split()[:2]:
            assert subject < index < header
            key, name, words, value, unit = (part.strip() for part in line.removeprefix("# Measure ").split(","))
            assert line.startswith(f"# Measure {key}, {name}, {words}, ")
            assert unit == "mm^3"
            keys[key], measures[name] = name, float(value)
    assert keys.items() >= KNOWN.items()
    columns = lines[header].removeprefix("# ColHeaders").split()
    assert columns[1:] == ["SegId", "NVoxels", "Volume_mm3", "StructName"]
    assert all("#" in line for line in lines[: header + 1])
    assert not any("#" in line for line in lines[header + 1 :])
    rows = [dict(zip(columns, line.split(), strict=True)) for line in lines[header + 1 :]]
    assert [int(row["Index"]) for row in rows] == list(range(1, len(rows) + 1))
    assert len({row["StructName"] for row in rows}) == len(rows)
    assert f"# NRows {len(rows)}" in lines
    assert f"# NTableCols {len(columns)}" in lines
    return measures, {int(row["SegId"]): row for row in rows}


def test_measures_and_structures_are_those_of_the_label_map():
    generator = np.random.default_rng(0)
    voxels = {entry.id: int(generator.integers(0, 300_000)) for entry in TABLE.structures} | {24: 0}
    measures, rows = read(aseg_stats("sub-01", "sub-01_dseg.nii.gz", TABLE, voxels, 0.8**3, 1.5e6))
    assert measures["eTIV"] == 1.5e6
    unknown, _ = read(aseg_stats("sub-01", "sub-01_dseg.nii.gz", TABLE, voxels, 0.8**3, np.nan))
    assert np.isnan(unknown["eTIV"])
    mm3 = {label: count * 0.8**3 for label, count in voxels.items()}

    assert sorted(rows) == list(rows) == sorted(set(mm3) - {2, 3, 41, 42})
    for entry in TABLE.structures:
        if entry.id in rows:
            row = rows[entry.id]
            assert (row["StructName"], int(row["NVoxels"])) == (entry.name, voxels[entry.id])
            assert float(row["Volume_mm3"]) == pytest.approx(mm3[entry.id], abs=0.06)

    assert (measures["lhCortexVol"], measures["rhCortexVol"]) == pytest.approx((mm3[3], mm3[42]))
    assert (measures["lhCerebralWhiteMatterVol"], measures["rhCerebralWhiteMatterVol"]) == pytest.approx(
        (mm3[2], mm3[41])
    )
    assert measures["BrainSegVol"] == pytest.approx(sum(mm3.values()) - mm3[16])
    ventricles = sum(mm3[entry.id] for entry in TABLE.structures if "Vent" in entry.name and "DC" not in entry.name)
    fluid = ventricles + mm3[24] + mm3[31] + mm3[63]
    assert measures["BrainSegVolNotVent"] == pytest.approx(measures["BrainSegVol"] - fluid)
    assert measures["VentricleChoroidVol"] == pytest.approx(fluid - mm3[14] - mm3[15] - mm3[24])
    cerebellum = mm3[8] + mm3[47]
    assert measures["TotalGrayVol"] == pytest.approx(measures["CortexVol"] + measures["SubCortGrayVol"] + cerebellum)
    deep = ("Thalamus", "Caudate", "Putamen", "Pallidum", "Hippocampus", "Amygdala", "Accumbens-area", "VentralDC")
    names = {f"{side}-{name}" for side in ("Left", "Right") for name in deep}
    assert measures["SubCortGrayVol"] == pytest.approx(sum(mm3[e.id] for e in TABLE.structures if e.name in names))


def test_brain_measures_are_only_of_whole_brains():
    assert set(measure_brain(dict.fromkeys(TABLE.ids, 1.0))) == {measure.name for measure in brain_measures()}
    assert measure_brain({entry.id: 1.0 for entry in LabelTable.load("subcortical").structures}) == {}
    assert {label for measure in brain_measures() for label in measure.ids} <= set(TABLE.ids)
