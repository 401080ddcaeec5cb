"""Fit the limits by which the results of a scan are graded `pass`, `look` or `fail`.

    python tools/fit_quality_limits.py --reference scans --scan_table scans.tsv --results results --output_dir out

Volumes and their asymmetry come from label maps of scans (--reference), a person counts once; expected DSC from
results of scans that were not trained on (--results). The limits are the smallest and largest value with a margin;
structures that every result has too little of are left out. The report says how many of the people would be outside
limits that were fitted without them, and how the results would be graded. Writes quality.tsv, which goes into the
bundle's `configs`, and report.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from evaluation.label_sets import find_label_set, read_column
from reports import made_by, run_command, table, write_files
from tqdm import tqdm

from monai_mamba import __version__
from monai_mamba.checks import check_output_dir
from monai_mamba.data.label_values import read_label_ids
from monai_mamba.data.quality import COLUMNS, QualityLimits
from monai_mamba.data.scan_table import describe_pairs
from monai_mamba.files import MISSING
from monai_mamba.labels import LabelTable

VOLUME_MARGIN, ASYMMETRY_MARGIN, OVERLAP_MARGIN = 2.0, 2.0, 0.85


def fit(volumes: np.ndarray, other_side: list[int], overlaps: np.ndarray) -> np.ndarray:
    """Limits `(structures, 4)`, columns as in `COLUMNS` without `name`.

    Args:
        volumes: `(people, structures)`, mm3, NaN where a map does not know a structure.
        other_side: for each structure the column of the same one on the other side, or its own.
        overlaps: expected DSC `(scans, structures)`, NaN where there is none.
    """
    asymmetry = abs(volumes - volumes[:, other_side]) / np.maximum((volumes + volumes[:, other_side]) / 2, 1e-6)
    return np.stack(
        [
            np.nanmin(volumes, 0) / VOLUME_MARGIN,
            np.nanmax(volumes, 0) * VOLUME_MARGIN,
            np.nanmax(asymmetry, 0) * ASYMMETRY_MARGIN,
            np.fmin.reduce(overlaps, 0) * OVERLAP_MARGIN,  # NaN where there is none at all
        ],
        axis=1,
    )


def limits_text(names: Sequence[str], limits: np.ndarray) -> str:
    """The table of limits."""
    texts = [[MISSING if np.isnan(value) else f"{value:.4g}" for value in row] for row in limits]
    rows = ["\t".join([name, *row]) for name, row in zip(names, texts, strict=True)]
    return "\n".join(["\t".join(COLUMNS), *rows]) + "\n"


def fit_limits(options: argparse.Namespace) -> None:
    """Measure, fit, and grade.

    Raises:
        InputError: a scan has no row in the table.
        OutputError: the files cannot be written.
    """
    check_output_dir(options.output_dir)
    labels = LabelTable.load("subcortical")
    ids, names = [entry.id for entry in labels.structures], np.array([entry.name for entry in labels.structures])
    other_side = [ids.index(labels.ids[labels.mirror[entry.index]]) for entry in labels.structures]
    reference = find_label_set("reference", options.reference)
    scans = describe_pairs([{"subject": name} for name in reference.files], options.scan_table)
    people: dict[str, np.ndarray] = {}
    for scan in tqdm(scans, desc="volumes", unit="map"):
        path = reference.files[scan["subject"]]
        counts = np.bincount(read_label_ids(path).ravel(), minlength=max(ids) + 1)[ids]
        volume = counts * abs(np.linalg.det(nib.load(path).affine[:3, :3]))
        unknown = np.isin(ids, [int(label) for label in scan["missing"].split(",") if label])
        people[scan.get("person", scan["subject"])] = np.where(unknown, np.nan, volume)
    tables = sorted(Path(options.results).expanduser().glob("**/*_volumes.tsv"))
    expected, sizes = (np.array([read_column(path, ids, name) for path in tables]) for name in ("expected_dsc", "mm3"))
    volumes = np.array(list(people.values()))
    limits = fit(volumes, other_side, expected)
    known = (sizes >= limits[:, 0]).any(0) & np.isfinite(expected).any(0)
    outside = []
    for row, values in enumerate(volumes):
        low, high, *_ = fit(np.delete(volumes, row, 0), other_side, expected).T
        outside.append(int((known & ((values < low) | (values > high))).sum()))
    folder = Path(options.output_dir).expanduser()
    write_files(folder, {"quality.tsv": limits_text(names[known], limits[known])})
    grades = [(path.name.split("_desc-")[0], *QualityLimits.load(folder / "quality.tsv").rate(path)) for path in tables]
    text = (
        f"Volumes of {len(people)} people, expected DSC of {len(tables)} scans. With limits fitted without them, "
        f"{sum(map(bool, outside))} people have a volume outside, {max(outside)} structures at most.\n"
    )
    report = f"# Limits\n\n{made_by(__version__ + '.')}\n{text}\n{table(('scan', 'grade', 'reason'), grades)}"
    write_files(folder, {"report.md": report})
    print(text, end="")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", required=True, help="folder with label maps of scans")
    parser.add_argument("--scan_table", help="TSV file with person and missing ids of each scan")
    parser.add_argument("--results", required=True, help="folder that inference.json wrote for scans not trained on")
    parser.add_argument("--output_dir", required=True, help="folder for the limits and the report")
    return run_command(fit_limits, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
