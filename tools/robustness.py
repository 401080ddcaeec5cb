"""Measure how much the labels of a bundle change when its scan does: test-retest and robustness.

    python tools/robustness.py --bundle bundles/subcortical --input scan.nii.gz --reference aseg.nii.gz \
        --output_dir robustness -- --device cuda

Writes altered versions of the scan as files, runs the bundle's inference.json once on the folder that holds them, takes
the labels back to the scan, and compares them with those of the scan as it is (and with the reference, if there is
one). What follows -- goes to the bundle. The label maps stay in the folder `labels` of the output folder, with the
bundle's pictures of them.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from evaluation.label_sets import read_labels
from evaluation.robustness_conditions import (
    CONDITIONS,
    GROUPS,
    Change,
    Condition,
    Scan,
    brain_of,
    load_scan,
    onto_grid,
    repeat,
)
from evaluation.robustness_report import Outcome, Robustness, report_files
from monai.bundle import ConfigParser
from reports import run_command, write_files
from scipy import ndimage
from tqdm import tqdm

from monai_mamba.checks import check_output_dir
from monai_mamba.data.image_header import check_header
from monai_mamba.data.scans import RESULTS
from monai_mamba.errors import InputError, MonaiMambaError, OutputError
from monai_mamba.labels import LabelTable
from monai_mamba.metrics.structure_scores import ABSENT_RULE
from monai_mamba.transforms.resample import map_box, voxel_map

UNALTERED = "unaltered"
NO_BRAIN = (
    "where the brain lies is not known: give --brain_mask, or a --reference in which all of the brain has labels (half "
    "a liter or more)"
)


def bundle_config(bundle: str) -> Path:
    """The inference configuration of a bundle.

    Raises:
        InputError: there is none.
    """
    config = Path(bundle).expanduser().resolve() / "configs" / "inference.json"
    if not config.is_file():
        raise InputError(f"--bundle {bundle}: there is no {config}. Give the folder of a bundle that segments scans.")
    return config


def bundle_table(config: Path) -> LabelTable:
    """The label table that a bundle writes its results with: the `labels` of its handlers.

    Raises:
        InputError: no handler names a label table, or there is no such table.
    """
    parser = ConfigParser()
    parser.read_config(str(config))
    for position, handler in enumerate(parser.get("handlers", ())):
        if "labels" in handler:
            return LabelTable.load(parser.get_parsed_content(f"handlers#{position}#labels"))
    raise InputError(f"{config}: no handler has 'labels', so the names of the structures are unknown. Give --labels.")


def read_label_map(path: str | Path) -> nib.Nifti1Image:
    """Label ids `(H, W, D)`, int32, with their affine.

    Raises:
        InputError: the file is no label map.
    """
    check_header(path)
    return nib.Nifti1Image(read_labels(Path(path)), nib.load(path).affine)


def run_bundle(config: Path, scans: Path, output_dir: Path, options: Sequence[str]) -> None:
    """Segment the scans of a folder as users do, in one process, again if they have results.

    Raises:
        MonaiMambaError: the run failed; its own messages have been printed.
    """
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(config), "--input", str(scans)]
    command += ["--output_dir", str(output_dir), "--overwrite", "True", *options]
    status = subprocess.run(command).returncode
    if status:
        raise MonaiMambaError(
            f"{config}: the run of the bundle ended with status {status}. Its messages stand above; it was called by\n"
            f"    {shlex.join(command)}"
        )


def find_labels(output_dir: Path, name: str) -> Path:
    """The label map that the bundle made of an altered scan.

    Raises:
        InputError: there is not exactly one.
    """
    found = sorted(output_dir.glob(f"{name}_desc-*{RESULTS['labels']}"))
    if len(found) != 1:
        raise InputError(
            f"{output_dir}: {len(found)} label maps of the scan '{name}', expected one named "
            f"{name}_desc-TASK{RESULTS['labels']}. Remove those of other bundles from this folder."
        )
    return found[0]


def expected_overlaps(labels: Path, ids: Sequence[int]) -> np.ndarray:
    """DSC that the network itself expects of each of the C structures, `(C,)`, 0..1, from the table beside a label map.

    NaN where the table has none: the structure was not found, or the bundle does not say.
    """
    path = Path(str(labels).removesuffix(RESULTS["labels"]) + RESULTS["volumes"])
    with path.open(encoding="utf-8", newline="") as file:
        rows = {row["id"]: row.get("expected_dsc") for row in csv.DictReader(file, delimiter="\t")}
    values = [rows.get(str(structure)) for structure in ids]
    return np.array([float(value) if value not in (None, "n/a") else np.nan for value in values])


def compare(
    condition: Condition,
    change: Change,
    labels: nib.Nifti1Image,
    baseline: nib.Nifti1Image,
    reference: nib.Nifti1Image | None,
    table: LabelTable,
    ids: Sequence[int],
    expected_dsc: np.ndarray,
) -> Outcome:
    """Compare the labels of an altered scan with those of the scan as it is, and with the reference.

    Label maps on different grids are compared in space, each voxel as the box that it is: all of them are read at the
    centers of boxes of half the baseline's voxel size. On the baseline's own grid, labels would be moved by up to half
    a voxel, which for thin structures counts more than most alterations.

    Args:
        condition: what was done.
        change: the same, as far as it has to be undone.
        labels: label map of the altered scan.
        baseline: label map of the scan as it is.
        reference: label map to compare with, too, on any grid.
        table: the classes.
        ids: the C structures to compare.
        expected_dsc: see `expected_overlaps`.
    """
    found, moved = change.undo(labels, table)
    expected, affine = np.asanyarray(baseline.dataobj), baseline.affine
    resampled = onto_grid(expected, affine, found.shape, moved)
    maps = [(expected, affine), (found, moved), (resampled, moved)]
    if reference is not None:
        maps.append((np.asanyarray(reference.dataobj), reference.affine))
    maps = [(np.where(np.isin(values, ids), values, 0), place) for values, place in maps]
    shape, grid = fine_grid(maps, expected.shape, affine)
    truth, prediction, itself, *others = (onto_grid(values, place, shape, grid) for values, place in maps)
    back = onto_grid(found, moved, expected.shape, affine)
    return Outcome(
        condition=condition,
        detail=change.detail,
        dsc=overlaps(prediction, truth, ids),
        volumes=volumes(found, moved, ids),
        grid_dsc=overlaps(itself, truth, ids),
        reference_dsc=overlaps(prediction, others[0], ids) if others else None,
        expected_dsc=expected_dsc,
        changed=int(np.count_nonzero(back != expected)),
    )


def fine_grid(
    maps: Sequence[tuple[np.ndarray, np.ndarray]], shape: Sequence[int], affine: np.ndarray
) -> tuple[tuple[int, ...], np.ndarray]:
    """The part of a grid that holds all labels, each of its voxels split into 8.

    Args:
        maps: label ids `(H, W, D)` with their affines `(4, 4)`; one of them at least has a label in the grid.
        shape: of the grid.
        affine: `(4, 4)` of the grid.

    Returns:
        Shape and affine of the fine grid.
    """
    boxes = []
    for ids, place in maps:
        for part in ndimage.find_objects((ids > 0).astype(np.uint8)):
            ends = np.array([[axis.start - 0.5, axis.stop - 0.5] for axis in part]).T
            boxes.append(map_box(voxel_map(place, affine), *ends, shape))
    boxes = [box for box in boxes if box]
    start = np.min([[axis.start for axis in box] for box in boxes], axis=0)
    stop = np.max([[axis.stop for axis in box] for box in boxes], axis=0)
    halves = nib.affines.from_matvec(np.eye(3) / 2, start - 0.25)
    return tuple(2 * (stop - start)), affine @ halves


def overlaps(prediction: np.ndarray, reference: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """DSC of each of the C structures, `(C,)`, 0..1; NaN where it is in neither of two label maps on one grid."""
    length = int(max(*ids, prediction.max(), reference.max())) + 1
    sizes = sum(np.bincount(labels.ravel(), minlength=length) for labels in (prediction, reference))[list(ids)]
    common = np.bincount(prediction[prediction == reference], minlength=length)[list(ids)]
    return np.where(sizes > 0, 2 * common / np.maximum(sizes, 1), np.nan)


def volumes(labels: np.ndarray, affine: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """Volume of each of the C structures in mm3, voxels times voxel volume, `(C,)`."""
    voxels = np.bincount(labels.ravel(), minlength=max(ids) + 1)
    return voxels[list(ids)] * abs(np.linalg.det(affine[:3, :3]))


def choose_conditions(groups: Sequence[str], scan: Scan) -> tuple[list[Condition], list[str]]:
    """Conditions of some groups, and why others of them are left out.

    Raises:
        InputError: none is left.
    """
    chosen = [condition for condition in CONDITIONS if condition.group in groups]
    notes = []
    if scan.brain is None and any(condition.group == "stripped" for condition in chosen):
        chosen = [condition for condition in chosen if condition.group != "stripped"]
        notes.append(f"Left out, 'stripped': {NO_BRAIN}.")
    if not chosen:
        raise InputError(f"No condition is left to measure. {' '.join(notes)}")
    return chosen, notes


def measure(options: argparse.Namespace) -> None:
    """Check the inputs, segment the altered scans, compare the labels, and write the report.

    Raises:
        InputError: an input cannot be used; nothing has been written.
        OutputError: the output folder cannot be written to.
        MonaiMambaError: the bundle failed.
    """
    config, folder = bundle_config(options.bundle), Path(options.output_dir).expanduser().resolve()
    table = LabelTable.load(options.labels) if options.labels else bundle_table(config)
    source = Path(options.input).expanduser()
    check_header(source)
    reference = None if options.reference is None else read_label_map(Path(options.reference).expanduser())
    brain = None
    if options.brain_mask is not None:
        mask = read_label_map(Path(options.brain_mask).expanduser())
        brain = np.asanyarray(mask.dataobj) > 0, mask.affine
    elif reference is not None:
        inside = brain_of(np.asanyarray(reference.dataobj), reference.affine)
        brain = None if inside is None else (inside, reference.affine)
    scan = load_scan(source, brain)
    conditions, notes = choose_conditions(options.conditions, scan)
    check_output_dir(folder)

    as_it_is = Condition(UNALTERED, UNALTERED, "the scan as it is", repeat)
    changes: dict[str, Change] = {}
    # Beside the results rather than in the system's folder, because the scans may take more than a gigabyte.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".scans.") as scans:
        for condition in tqdm([as_it_is, *conditions], desc="altering", unit="scan"):
            image, changes[condition.name] = condition.alter(scan)
            _save(image, Path(scans) / f"{condition.name}.nii")
        run_bundle(config, Path(scans), folder / "labels", options.bundle_options)

    maps = {name: find_labels(folder / "labels", name) for name in changes}
    baseline = read_label_map(maps[UNALTERED])
    found = {name: set(np.unique(read_labels(path)).tolist()) for name, path in maps.items()}
    if not any(entry.id in found[UNALTERED] for entry in table.structures):
        raise InputError(f"{source}: the bundle finds no structure in it. Give a scan of the kind it is made for.")
    structures = tuple(entry for entry in table.structures if entry.id in set.union(*found.values()))
    ids = [entry.id for entry in structures]
    if reference is not None:
        there = set(np.unique(reference.dataobj).tolist())
        never = [entry.name for entry in table.structures if entry.id in there - set(ids)]
        if never:
            notes.append(f"In the reference, but never found by the bundle, and left out: {', '.join(never)}.")
    outcomes = []
    for condition in tqdm([as_it_is, *conditions], desc="comparing", unit="scan"):
        path, change = maps[condition.name], changes[condition.name]
        expected = expected_overlaps(path, ids)
        outcome = compare(condition, change, read_label_map(path), baseline, reference, table, ids, expected)
        outcomes.append(outcome)
    sources = {"bundle": str(options.bundle), "scan": str(options.input)}
    if reference is not None:
        sources["reference"] = str(options.reference)
    write_files(folder, report_files(Robustness(sources, structures, tuple(outcomes), tuple(notes))))
    print(f"Wrote {folder / 'report.md'}. {ABSENT_RULE}")


def _save(image: nib.Nifti1Image, path: Path) -> None:
    try:
        nib.save(image, path)
    except OSError as error:
        raise OutputError(
            f"{path}: the altered scan cannot be written ({error}). Free some space, or choose another folder with "
            "--output_dir."
        ) from error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True, metavar="DIR", help="folder of a bundle with configs/inference.json")
    parser.add_argument("--input", required=True, metavar="FILE", help="the scan (NIfTI or MGH)")
    parser.add_argument("--output_dir", required=True, metavar="DIR", help="folder for the report and the label maps")
    parser.add_argument("--reference", metavar="FILE", help="label map of the scan to compare with, too")
    parser.add_argument(
        "--brain_mask",
        metavar="FILE",
        help="the brain, for 'stripped' (what has a label in the reference, and 2 mm about it)",
    )
    parser.add_argument("--conditions", nargs="+", choices=GROUPS, default=GROUPS, help="kinds of alteration (all)")
    parser.add_argument("--labels", help="label table: a name or a TSV file (that of the bundle)")
    parser.add_argument("bundle_options", nargs="*", metavar="-- OPTION", help="options of the bundle, after --")
    return run_command(measure, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
