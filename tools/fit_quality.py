"""Fit what the results of a scan are graded by: limits, and how far the expected DSC is from the measured one.

    python tools/fit_quality.py limits --reference scans --scan_table scans.tsv --results results --output_dir out
    python tools/fit_quality.py hippocampus --dataset_dir Task04_Hippocampus --output_dir out
    python tools/fit_quality.py calibration --reference scans --scan_table scans.tsv --results results --output_dir out

The results are those of `inference.json`, of scans that were not trained on; scans of one person count as one. Weights
given by --weights are not calibrated: for `limits`, add `--calibration` with the bundle's calibration.tsv.

`limits` of a volume are half of the smallest and twice the largest in the label maps of scans (--reference), the limit
of an asymmetry twice the largest difference of two sides, that of the expected DSC 0.85 of the smallest. Left out are
structures that every result has too little of. report.md says how many of the people would be outside limits that were
fitted without them, and how the results would be graded. `hippocampus` takes the volumes from the manual labels of the
Decathlon's task 04, whose cases 2k-1 and 2k are the two hippocampi of one person; both sides get the same limits.

`calibration` needs results made with `--calibration None`. The factor of a structure is its mean measured DSC divided
by its mean expected one; what was in neither has none. report.md says how far both are apart without factors, and with
factors that were fitted without the person they are applied to.

Writes quality.tsv or calibration.tsv, which go into the bundle's `configs`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from evaluation.label_sets import find_label_set, read_column, unknown_ids, volumes, volumes_of
from reports import made_by, run_command, table, write_files
from tqdm import tqdm

from monai_mamba import __version__
from monai_mamba.checks import check_output_dir
from monai_mamba.data.image_file import open_image
from monai_mamba.data.label_values import read_label_ids
from monai_mamba.data.quality import COLUMNS, QualityLimits
from monai_mamba.data.scan_table import describe_pairs
from monai_mamba.errors import InputError
from monai_mamba.files import MISSING, table_text
from monai_mamba.labels import LabelTable
from monai_mamba.metrics.structure_scores import structure_scores

VOLUME_MARGIN, ASYMMETRY_MARGIN, OVERLAP_MARGIN = 2.0, 2.0, 0.85


def fit(volumes: np.ndarray, other_side: list[int], overlaps: np.ndarray) -> np.ndarray:
    """Limits `(structures, 4)`, columns as in `COLUMNS` without `name`.

    Volumes are `(people, structures)`, mm3, and overlaps expected DSC `(scans, structures)`, NaN where there is none.
    `other_side` is, for each structure, the column of the same one on the other side, or its own.
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


def measure(path: Path, ids: Sequence[int]) -> np.ndarray:
    """Volumes of some ids in the label map of a file, mm3."""
    return volumes(read_label_ids(path), nib.load(path).affine, ids)


def write_limits(folder: Path, names: Sequence[str], limits: np.ndarray) -> None:
    """Write quality.tsv."""
    texts = [[MISSING if np.isnan(value) else f"{value:.4g}" for value in row] for row in limits]
    rows = [[name, *row] for name, row in zip(names, texts, strict=True)]
    write_files(folder, {"quality.tsv": table_text(COLUMNS, rows)})


def fit_hippocampus(options: argparse.Namespace) -> None:
    """Measure crops of hippocampi and fit."""
    files = find_label_set("labels", str(Path(options.dataset_dir, "labelsTr"))).files
    crops = {int(re.search(r"\d+$", name)[0]): measure(path, (1, 2)) for name, path in files.items()}
    missing = np.full(2, np.nan)
    first = range(1, max(crops) + 1, 2)
    sides = np.array([[crops.get(case, missing), crops.get(case + 1, missing)] for case in first])
    # (person, side, part): either side of a crop is not known, so that both count for both.
    limits = fit(np.concatenate([sides, sides[:, ::-1]]).reshape(-1, 4), [2, 3, 0, 1], np.full((1, 4), np.nan))
    names = [entry.name for entry in LabelTable.load("hippocampus_head_tail").structures]
    write_limits(options.output_dir, names, limits)
    print(f"{len(crops)} hippocampi, {int(np.isfinite(sides).all((1, 2)).sum())} people with both.")


def fit_limits(options: argparse.Namespace) -> None:
    """Measure label maps, fit, and grade results."""
    labels = LabelTable.load("subcortical")
    ids, names = [entry.id for entry in labels.structures], np.array([entry.name for entry in labels.structures])
    other_side = [ids.index(labels.ids[labels.mirror[entry.index]]) for entry in labels.structures]
    reference = find_label_set("reference", options.reference)
    scans = describe_pairs([{"subject": name} for name in reference.files], options.scan_table)
    people: dict[str, np.ndarray] = {}
    for scan in tqdm(scans, desc="volumes", unit="map"):
        volume = measure(reference.files[scan["subject"]], ids)
        people[scan.get("person", scan["subject"])] = np.where(np.isin(ids, unknown_ids(scan)), np.nan, volume)
    tables = sorted(Path(options.results).expanduser().glob("**/*_volumes.tsv"))
    if not tables:
        raise InputError(f"{options.results}: no results there (*_volumes.tsv). Give the --output_dir of a run.")
    expected, sizes = (np.array([read_column(path, ids, name) for path in tables]) for name in ("expected_dsc", "mm3"))
    found = np.array(list(people.values()))
    limits = fit(found, other_side, expected)
    known = (sizes >= limits[:, 0]).any(0) & np.isfinite(expected).any(0)
    outside = []
    for row, values in enumerate(found):
        low, high, *_ = fit(np.delete(found, row, 0), other_side, expected).T
        outside.append(int((known & ((values < low) | (values > high))).sum()))
    write_limits(options.output_dir, names[known], limits[known])
    fitted = QualityLimits.load(options.output_dir / "quality.tsv")
    grades = [(path.name.split("_desc-")[0], *fitted.rate(path)) for path in tables]
    text = (
        f"Volumes of {len(people)} people, expected DSC of {len(tables)} scans. With limits fitted without them, "
        f"{sum(map(bool, outside))} people have a volume outside, {max(outside)} structures at most.\n"
    )
    report = f"# Limits\n\n{made_by(__version__ + '.')}\n{text}\n{table(('scan', 'grade', 'reason'), grades)}"
    write_files(options.output_dir, {"report.md": report})
    print(text, end="")


def by_person(values: np.ndarray, persons: list[str]) -> np.ndarray:
    """Mean over the scans of each person, `(scans, structures)` to `(persons, structures)`, without NaN."""
    with np.errstate(invalid="ignore"):
        groups = [values[[other == person for other in persons]] for person in sorted(set(persons))]
        return np.array([np.nansum(group, 0) / np.isfinite(group).sum(0) for group in groups])


def fit_factors(expected: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Factor of each structure; 1 where nothing is known."""
    known = np.isfinite(expected) & np.isfinite(measured)
    sums = [np.where(known, values, 0).sum(0) for values in (measured, expected)]
    return np.divide(sums[0], sums[1], out=np.ones(expected.shape[1]), where=sums[1] > 0)


def fit_calibration(options: argparse.Namespace) -> None:
    """Score the results and write the factors."""
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
    factors = fit_factors(e, m)
    others = [fit_factors(np.delete(e, row, 0), np.delete(m, row, 0)) for row in range(len(e))]
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
    files = {
        "calibration.tsv": table_text(("id", "factor"), [(row[0], row[-1]) for row in rows]),
        "report.md": f"# Expected and measured DSC\n\n{made_by(__version__ + '.')}\n{text}\n{table(columns, rows)}",
    }
    write_files(options.output_dir, files)
    print(text, end="")


COMMANDS = {"limits": fit_limits, "hippocampus": fit_hippocampus, "calibration": fit_calibration}


def fit_and_report(options: argparse.Namespace) -> None:
    """Fit what the command line asks for."""
    check_output_dir(options.output_dir)
    COMMANDS[options.kind](options)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name in COMMANDS:
        kind = kinds.add_parser(name)
        if name == "hippocampus":
            kind.add_argument("--dataset_dir", required=True, help="folder with labelsTr")
        else:
            kind.add_argument("--reference", required=True, help="folder with label maps of scans")
            kind.add_argument("--scan_table", help="TSV file with person and missing ids of each scan")
            kind.add_argument("--results", required=True, help="folder of inference.json for scans not trained on")
        text = "folder for the table and the report"
        kind.add_argument("--output_dir", type=lambda path: Path(path).expanduser(), required=True, help=text)
    return run_command(fit_and_report, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
