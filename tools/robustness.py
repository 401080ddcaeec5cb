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
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from evaluation.label_sets import find_label_set, read_column, volumes_of
from evaluation.robustness_conditions import CONDITIONS, GROUPS, Change, Condition, brain_of, load_scan, repeat
from evaluation.robustness_report import Robustness, compare, report_files
from monai.bundle import ConfigParser
from reports import run_command, write_files
from tqdm import tqdm

from monai_mamba.checks import check_output_dir
from monai_mamba.data.image_header import check_header
from monai_mamba.data.label_values import read_label_ids
from monai_mamba.errors import InputError, MonaiMambaError, writing
from monai_mamba.labels import LabelTable
from monai_mamba.metrics.structure_scores import ABSENT_RULE

UNALTERED = "unaltered"


def read_bundle(bundle: str) -> tuple[Path, LabelTable]:
    """The inference configuration of a bundle, and the label table of its results: the `labels` of its handlers."""
    config = Path(bundle).expanduser().resolve() / "configs" / "inference.json"
    if not config.is_file():
        raise InputError(f"--bundle {bundle}: there is no {config}. Give the folder of a bundle that segments scans.")
    parser = ConfigParser()
    parser.read_config(str(config))
    for position, handler in enumerate(parser.get("handlers", ())):
        if "labels" in handler:
            return config, LabelTable.load(parser.get_parsed_content(f"handlers#{position}#labels"))
    raise InputError(f"{config}: no handler has 'labels', so the names of the structures are unknown.")


def read_label_map(path: str | Path) -> nib.Nifti1Image:
    """Label ids `(H, W, D)`, int32, with their affine."""
    check_header(path)
    return nib.Nifti1Image(read_label_ids(Path(path)), nib.load(path).affine)


def run_bundle(config: Path, scans: Path, output_dir: Path, options: Sequence[str]) -> None:
    """Segment the scans of a folder as users do, in one process, again if they have results."""
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(config), "--input", str(scans)]
    command += ["--output_dir", str(output_dir), "--overwrite", "True", *options]
    if status := subprocess.run(command).returncode:
        raise MonaiMambaError(
            f"{config}: the run of the bundle ended with status {status}. See its messages above. The command was\n"
            f"    {shlex.join(command)}"
        )


def measure(options: argparse.Namespace) -> None:
    """Check the inputs, segment the altered scans, compare the labels, and write the report."""
    folder = Path(options.output_dir).expanduser().resolve()
    config, table = read_bundle(options.bundle)
    source = Path(options.input).expanduser()
    check_header(source)
    reference = None if options.reference is None else read_label_map(Path(options.reference).expanduser())
    scan = load_scan(source, None if reference is None else brain_of(reference))
    conditions = [condition for condition in CONDITIONS if condition.group in options.conditions]
    notes = []
    if scan.brain is None and "stripped" in options.conditions:
        conditions = [condition for condition in conditions if condition.group != "stripped"]
        notes.append("Left out, 'stripped': it needs a --reference that labels the whole brain (half a liter or more).")
    if not conditions:
        raise InputError(f"No condition is left to measure. {' '.join(notes)}")
    check_output_dir(folder)

    as_it_is = Condition(UNALTERED, UNALTERED, "the scan as it is", repeat)
    changes: dict[str, Change] = {}
    # Beside the results rather than in the system's folder, because the scans may take more than a gigabyte.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".scans.") as scans:
        for condition in tqdm([as_it_is, *conditions], desc="altering", unit="scan"):
            image, changes[condition.name] = condition.alter(scan)
            with writing(f"{folder}: the altered scans"):
                nib.save(image, Path(scans) / f"{condition.name}.nii")
        run_bundle(config, Path(scans), folder / "labels", options.bundle_options)

    maps = find_label_set("labels", str(folder / "labels")).files
    if missing := sorted(set(changes) - set(maps)):
        raise InputError(f"{folder / 'labels'}: the bundle wrote no label map of {', '.join(missing)}.")
    baseline = read_label_map(maps[UNALTERED])
    found = {name: set(np.unique(read_label_ids(maps[name])).tolist()) for name in changes}
    if not any(entry.id in found[UNALTERED] for entry in table.structures):
        raise InputError(f"{source}: the bundle finds no structure in it. Use a scan of the kind that it is made for.")
    structures = tuple(entry for entry in table.structures if entry.id in set.union(*found.values()))
    ids = [entry.id for entry in structures]
    if reference is not None:
        there = set(np.unique(reference.dataobj).tolist())
        if never := [entry.name for entry in table.structures if entry.id in there - set(ids)]:
            notes.append(f"In the reference, but never found by the bundle, and left out: {', '.join(never)}.")
    outcomes = []
    for condition in tqdm([as_it_is, *conditions], desc="comparing", unit="scan"):
        path, change = maps[condition.name], changes[condition.name]
        expected = read_column(volumes_of(path), ids, "expected_dsc")
        outcomes.append(compare(condition, change, read_label_map(path), baseline, reference, table, ids, expected))
    sources = {"bundle": options.bundle, "scan": options.input, "reference": options.reference}
    sources = {name: source for name, source in sources.items() if source is not None}
    write_files(folder, report_files(Robustness(sources, structures, tuple(outcomes), tuple(notes))))
    print(f"Wrote {folder / 'report.md'}. {ABSENT_RULE}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True, metavar="DIR", help="folder of a bundle with configs/inference.json")
    parser.add_argument("--input", required=True, metavar="FILE", help="the scan (NIfTI or MGH)")
    parser.add_argument("--output_dir", required=True, metavar="DIR", help="folder for the report and the label maps")
    parser.add_argument("--reference", metavar="FILE", help="label map of the scan to compare with, too")
    parser.add_argument("--conditions", nargs="+", choices=GROUPS, default=GROUPS, help="kinds of alteration (all)")
    parser.add_argument("bundle_options", nargs="*", metavar="-- OPTION", help="options of the bundle, after --")
    return run_command(measure, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
