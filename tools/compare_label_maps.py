"""Compare the label maps of two or more methods with one reference.

    python tools/compare_label_maps.py --reference labels --method ours=out \
        --method "other=subjects/{subject}/mri/aseg.mgz" --output_dir comparison

A set is a folder, or a path with {subject} where the subject's name stands. Of a folder, with its subfolders, the
subject is the name of a file without .nii, .nii.gz, .mgz or .mgh and without BIDS endings such as _desc-aseg_dseg;
where names end in _dseg, only those files are taken. All sets must hold the same subjects on the grids of the
reference, and the same structures unless --ids says which to compare.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from evaluation.comparison_report import Comparison, report_files
from evaluation.label_sets import LabelSet, find_label_set, unknown_ids
from reports import run_command, write_files
from tqdm import tqdm

from monai_mamba.checks import check_output_dir
from monai_mamba.data.image_file import open_image
from monai_mamba.data.image_header import check_header
from monai_mamba.data.label_values import read_label_ids
from monai_mamba.data.pairs import check_same_grid
from monai_mamba.data.scan_table import describe_pairs
from monai_mamba.errors import InputError
from monai_mamba.grids import voxel_volume
from monai_mamba.labels import LabelEntry, LabelTable
from monai_mamba.metrics.structure_scores import ABSENT_RULE, structure_scores


def check_subjects(reference: LabelSet, methods: Sequence[LabelSet]) -> None:
    """Refuse methods that do not hold exactly the subjects of the reference, naming all that differ."""
    problems = []
    for method in methods:
        for text, one, other in (("lacks", reference, method), ("has what the reference lacks", method, reference)):
            if subjects := sorted(set(one.files) - set(other.files)):
                problems.append(f"{method.name} ({method.source}) {text}: {', '.join(subjects)}.")
    if problems:
        raise InputError(
            f"The sets do not hold the same subjects as the reference ({reference.source}).\n"
            + "\n".join(problems)
            + "\nSubjects are matched by file name (see --help). Complete the sets, or remove these subjects from all."
        )


def check_grids(reference: LabelSet, methods: Sequence[LabelSet]) -> None:
    """Refuse label maps that are unreadable or not on the grid of their reference. Reads headers only."""
    for subject, path in reference.files.items():
        check_header(path)
        for method in methods:
            check_header(method.files[subject])
            try:
                check_same_grid(str(path), str(method.files[subject]))
            except InputError as error:
                raise InputError(f"{method.name}: {error}") from error


def count_voxels(label_set: LabelSet) -> dict[str, dict[int, int]]:
    """Voxels of each id in the map of each subject, without the background."""
    counts = {}
    for subject, path in tqdm(label_set.files.items(), desc=f"reading {label_set.name}", unit="map"):
        voxels = np.bincount(read_label_ids(path).ravel())
        counts[subject] = {int(label): int(voxels[label]) for label in np.flatnonzero(voxels) if label}
    return counts


def choose_structures(
    table: LabelTable, ids: Sequence[int] | None, found: Mapping[str, set[int]]
) -> tuple[LabelEntry, ...]:
    """Structures to compare: those asked for, or those of the table that occur in the reference and all methods alike.

    `found` are the ids that occur in each set, in any of its maps; the reference comes first.
    """
    if ids is not None:
        if unknown := sorted(set(ids) - {entry.id for entry in table if entry.id}):
            raise InputError(f"--ids: {unknown} are not in the label table. Add them to a table, see --labels.")
        return tuple(entry for entry in table if entry.id in ids)
    names = {entry.id: f"{entry.id} ({entry.name})" for entry in table.structures}
    reference, *methods = found
    problems = []
    for method in methods:
        for text, one, other in (("never has", reference, method), ("has, unlike the reference,", method, reference)):
            if different := sorted((found[one] - found[other]) & set(names)):
                problems.append(f"{method} {text} {', '.join(names[label] for label in different)}.")
    common = sorted(set.intersection(*found.values()) & set(names))
    if problems or not common:
        advice = " ".join(map(str, common)) or "none"
        raise InputError(
            "The sets do not hold the same structures of the label table.\n"
            + "\n".join(problems)
            + f"\nChoose with --ids. In all sets: {advice}. In the reference: "
            f"{' '.join(str(label) for label in sorted(found[reference] & set(names))) or 'none'}."
        )
    return tuple(entry for entry in table.structures if entry.id in common)


def score(
    reference: LabelSet, methods: Sequence[LabelSet], ids: Sequence[int], missing: Mapping[str, Sequence[int]]
) -> dict[str, torch.Tensor]:
    """Scores `(subjects, structures, 4)` of each method, columns as in `SCORES`; NaN for `missing` ids of a subject."""
    scores: dict[str, list[torch.Tensor]] = {method.name: [] for method in methods}
    for subject, path in tqdm(reference.files.items(), desc="comparing", unit="subject"):
        expected, spacing = read_label_ids(path), nib.affines.voxel_sizes(open_image(path).affine)
        for method in methods:
            predicted = read_label_ids(method.files[subject])
            values = structure_scores(predicted, expected, ids, spacing)
            values[np.isin(ids, missing.get(subject, ()))] = torch.nan
            scores[method.name].append(values)
    return {name: torch.stack(values) for name, values in scores.items()}


def group_by_dataset(reference: LabelSet, pattern: str | None) -> dict[str, list[int]]:
    """Positions of the subjects of each data set; no data sets without a pattern.

    It is a regular expression, such as `labels/([^/]+)/`, whose first group is the name of the data set in the path.
    """
    datasets: dict[str, list[int]] = {}
    if pattern is None:
        return datasets
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--dataset_pattern: {pattern} is not a regular expression ({error}).") from error
    if not expression.groups:
        raise InputError(f"--dataset_pattern: {pattern} has no group (...) for the name of the data set.")
    for position, path in enumerate(reference.files.values()):
        match = expression.search(path.as_posix())
        if not match or not match[1]:
            raise InputError(f"{path}: --dataset_pattern {pattern} finds no name of a data set in this path.")
        datasets.setdefault(match[1], []).append(position)
    return datasets


def compare(options: argparse.Namespace) -> None:
    """Check the sets, score all methods, and write the report."""
    table = LabelTable.load(options.labels)
    reference = find_label_set("reference", options.reference)
    methods = [find_label_set(name, source) for name, source in options.method]
    names = [method.name for method in methods]
    if len(names) < 2 or len({"reference", *names}) <= len(names):
        raise InputError(
            f"The methods are {names}; give at least two, with different names other than 'reference': "
            "--method NAME=SET --method NAME=SET."
        )
    check_subjects(reference, methods)
    datasets = group_by_dataset(reference, options.dataset_pattern)
    check_grids(reference, methods)
    check_output_dir(options.output_dir)
    voxels = {label_set.name: count_voxels(label_set) for label_set in (reference, *methods)}
    found = {name: {label for counts in maps.values() for label in counts} for name, maps in voxels.items()}
    structures = choose_structures(table, options.ids, found)
    ids = [entry.id for entry in structures]
    scans = describe_pairs([{"subject": subject} for subject in reference.files], options.scan_table)
    missing = {scan["subject"]: unknown_ids(scan) for scan in scans}
    scores = score(reference, methods, ids, missing)
    sizes = {subject: voxel_volume(open_image(path).affine) for subject, path in reference.files.items()}
    volumes = {
        name: np.array([[maps[subject].get(label, 0) * sizes[subject] for label in ids] for subject in sizes])
        for name, maps in voxels.items()
    }
    sources = {label_set.name: label_set.source for label_set in (reference, *methods)}
    folder = Path(options.output_dir).expanduser()
    comparison = Comparison(sources, list(reference.files), structures, datasets, scores, volumes, found)
    write_files(folder, report_files(comparison))
    print(f"Wrote {folder / 'report.md'}. {ABSENT_RULE}")


def _method(text: str) -> tuple[str, str]:
    name, equals, source = text.partition("=")
    if not (name and equals and source):
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form NAME=SET")
    return name, source


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", required=True, metavar="SET", help="the label maps to compare with")
    method = {"required": True, "action": "append", "type": _method, "metavar": "NAME=SET"}
    parser.add_argument("--method", **method, help="a method; twice or more")
    parser.add_argument("--output_dir", required=True, help="folder for the tables and plots")
    text = "searched in the path of each reference map; its first group names the data set"
    parser.add_argument("--dataset_pattern", metavar="REGEX", help=text)
    text = "its column `missing` lists ids that the reference of a scan does not know"
    parser.add_argument("--scan_table", metavar="TSV", help=text)
    parser.add_argument("--labels", default="subcortical", help="label table: a name or a TSV file (%(default)s)")
    parser.add_argument("--ids", type=int, nargs="+", help="ids to compare (those of the table that all sets hold)")
    return run_command(compare, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
