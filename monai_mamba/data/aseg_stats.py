"""Volumes of a scan in the format of FreeSurfer's `aseg.stats`."""

from __future__ import annotations

from collections.abc import Mapping

from monai_mamba.labels import LabelTable, brain_measures, measure_brain
from monai_mamba.version import __version__

COLUMNS = ("Index", "SegId", "NVoxels", "Volume_mm3", "StructName")
ICV = "EstimatedTotalIntraCranialVol"


def aseg_stats(
    subject: str, file: str, table: LabelTable, voxels: Mapping[int, int], voxel_mm3: float, intracranial_mm3: float
) -> str:
    """The text of an `aseg.stats`, as `asegstats2table` and packages for R read it.

    Measures of the brain come first, then a row a structure by id, empty ones too, without cerebral white matter and
    cortex, which are measures. FreeSurfer takes those two from surfaces and corrects volumes for partial voxels; here,
    everything is counted in voxels, and there is nothing about intensities.

    Args:
        subject: name of the scan.
        file: name of the label map.
        table: its labels, cerebral white matter and cortex among them.
        voxels: number of voxels by label id.
        voxel_mm3: volume of a voxel in mm3.
        intracranial_mm3: estimated intracranial volume in mm3; NaN, as which it is written, where it is unknown.
    """
    lines = ["# Title Segmentation Statistics", "#", "# generating_program monai_mamba", f"# cvs_version {__version__}"]
    lines += ["# anatomy_type volume", f"# subjectname {subject}", f"# SegVolFile {file}"]
    lines += ["# All volumes, cortex and white matter too, are numbers of voxels times VoxelVolume_mm3"]
    values = measure_brain({label: count * voxel_mm3 for label, count in voxels.items()})
    for measure in brain_measures():
        lines.append(
            f"# Measure {measure.measure}, {measure.name}, {measure.description}, {values[measure.name]:.6f}, mm^3"
        )
    lines.append(f"# Measure {ICV}, eTIV, Estimated Total Intracranial Volume, {intracranial_mm3:.6f}, mm^3")
    in_header = {measure.ids for measure in brain_measures()}
    rows = sorted((entry for entry in table.structures if (entry.id,) not in in_header), key=lambda entry: entry.id)
    lines += [f"# VoxelVolume_mm3 {voxel_mm3:g}", f"# NRows {len(rows)}", f"# NTableCols {len(COLUMNS)}"]
    lines.append(f"# ColHeaders  {' '.join(COLUMNS)}")
    for index, entry in enumerate(rows, start=1):
        count = voxels[entry.id]
        lines.append(f"{index:3d} {entry.id:3d}  {count:8d} {count * voxel_mm3:10.1f}  {entry.name}")
    return "\n".join(lines) + "\n"
