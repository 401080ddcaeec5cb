"""Fit how far the expected DSC of each structure is from the measured one, on scans that were not trained on.

    python -m monai.bundle run --config_file bundles/subcortical/configs/inference.json --input scans \\
        --output_dir results --calibration None
    python tools/calibrate_expected_dsc.py --results results --reference scans --scan_table scans.tsv --output_dir out

The factor of a structure is its mean measured DSC divided by its mean expected one; what was in neither has none.
Scans of one person count together as one. The report says how far both are apart without factors, and with factors
that were fitted without the person they are applied to. Writes calibration.tsv, which goes into the
bundle's `configs`, and report.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from evaluation.label_sets import find_label_set, read_column, unknown_ids, volumes_of
from reports import made_by, run_command, table, write_files

from monai_mamba import __version__
from monai_mamba.checks import check_output_dir
from monai_mamba.data.image_file import open_image
from monai_mamba.data.label_values import read_label_ids
from monai_mamba.data.scan_table import describe_pairs
from monai_mamba.errors import InputError
from monai_mamba.labels import LabelTable
from monai_mamba.metrics.structure_scores import structure_scores


def by_person(values: np.ndarray, persons: list[str]) -> np.ndarray:
    """Mean over the scans of each person, `(scans, structures)` to `(persons, structures)`, without NaN."""
    with np.errstate(invalid="ignore"):
        groups = [values[[other == person for other in persons]] for person in sorted(set(persons))]
        return np.array([np.nansum(group, 0) / np.isfinite(group).sum(0) for group in groups])


def fit(expected: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Factor of each structure; 1 where nothing is known."""
    known = np.isfinite(expected) & np.isfinite(measured)
    sums = [np.where(known, values, 0).sum(0) for values in (measured, expected)]
    return np.divide(sums[0], sums[1], out=np.ones(expected.shape[1]), where=sums[1] > 0)


def calibrate(options: argparse.Namespace) -> None:
    """Score the results and write the factors.

    Raises:
        InputError: a scan lacks its reference or its table.
        OutputError: the files cannot be written.
    """
    check_output_dir(options.output_dir)
    entries = LabelTable.load("subcortical", auxiliary=True).structures
    ids = [entry.id for entry in entries]
    found, reference = find_label_set("results", options.results), find_label_set("reference", options.reference)
    if missing := sorted(set(found.files) - set(reference.files)):
        raise InputError(f"{options.reference}: there is no label map for {', '.join(missing)}.")
    scans = describe_pairs([{"subject": name} for name in sorted(found.files)], options.scan_table)
    expected, measured = [], []
    for scan in scans:
        path, truth = found.files[scan["subject"]], reference.files[scan["subject"]]
        spacing = nib.affines.voxel_sizes(open_image(truth).affine)
        dsc = structure_scores(read_label_ids(path), read_label_ids(truth), ids, spacing)[:, 0].numpy()
        unknown = np.isin(ids, unknown_ids(scan))
        measured.append(np.where(unknown, np.nan, dsc))
        expected.append(read_column(volumes_of(path), ids, "expected_dsc"))
    persons = [scan.get("person", scan["subject"]) for scan in scans]
    e, m = (by_person(np.array(values), persons) for values in (expected, measured))
    factors = fit(e, m)
    others = [fit(np.delete(e, row, 0), np.delete(m, row, 0)) for row in range(len(e))]
    held_out = np.minimum(e * np.array(others), 1.0)
    rows = [
        (entry.id, entry.name, *(f"{np.nanmean(v[:, i]):.3f}" for v in (m, e, held_out)), f"{factors[i]:.3f}")
        for i, entry in enumerate(entries)
        if np.isfinite(m[:, i] * e[:, i]).any()
    ]
    gaps = [values - m for values in (e, held_out)]
    means, errors = ([np.nanmean(values) for values in part] for part in (gaps, np.abs(gaps)))
    text = (
        f"{len(scans)} scans of {len(e)} persons. Expected minus measured DSC: {means[0]:+.3f} as the network says, "
        f"{means[1]:+.3f} with factors fitted without the person; without its sign, for a structure of a person, "
        f"{errors[0]:.3f} and {errors[1]:.3f}.\n"
    )
    columns = ("id", "structure", "measured", "expected", "expected, calibrated without the person", "factor")
    lines = ["id\tfactor", *(f"{row[0]}\t{row[-1]}" for row in rows)]
    files = {
        "calibration.tsv": "\n".join(lines) + "\n",
        "report.md": f"# Expected and measured DSC\n\n{made_by(__version__ + '.')}\n{text}\n{table(columns, rows)}",
    }
    write_files(Path(options.output_dir).expanduser(), files)
    print(text, end="")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", required=True, help="folder that inference.json wrote, without calibration")
    parser.add_argument("--reference", required=True, help="folder with the label maps to compare with")
    parser.add_argument("--scan_table", help="TSV file with person and missing ids of each scan")
    parser.add_argument("--output_dir", required=True, help="folder for the factors and the report")
    return run_command(calibrate, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
