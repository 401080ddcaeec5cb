"""Results of the bundles in a folder: what is there, what it is called, and which scan it was made from."""

from __future__ import annotations

import logging
import math
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_mamba.bundle import bundle_root
from monai_mamba.data.aseg_stats import ICV
from monai_mamba.data.cases import find_cases
from monai_mamba.data.content import settings_of
from monai_mamba.data.modalities import REFERENCE_ORDER
from monai_mamba.data.pairs import image_on_grid
from monai_mamba.data.quality import Quality, QualityLimits
from monai_mamba.data.scans import RESULTS, find_scans, is_finished
from monai_mamba.errors import InputError
from monai_mamba.files import MISSING, files_below, read_tsv, user_path
from monai_mamba.labels import LabelTable, label_tables

logger = logging.getLogger(__name__)

BUNDLES = {"subcortical": "subcortical", "hippocampus": "hippocampal_subfields", "tumor": "brats_multimodal"}  # by task


@dataclass(frozen=True)
class Volume:
    """One row of a table of volumes: structure or region, and its label ids.

    Attributes:
        mm3: voxels times voxel volume, mm³; None for an intracranial volume that is unknown.
        expected_dsc: Dice coefficient that the network's own probabilities promise, 0..1, where the table has it.
        percent: 100 times its volume by the intracranial one, or else by that of the brain, where the table has it.
    """

    name: str
    ids: tuple[int, ...]
    mm3: float | None
    expected_dsc: float | None
    percent: float | None = None


@dataclass(frozen=True)
class ScanResult:
    """The results of one scan.

    Attributes:
        name: path below the folder of results, without endings; `output` is the whole path.
        task: what stands after `_desc-` in the name.
        volumes: rows of the table of volumes, in its order.
        regions: whether these are regions of a tumor.
        table: the label table that the ids belong to.
        quality: grade by the limits of its bundle, see `QualityLimits`; None where there are none.
    """

    name: str
    output: str
    task: str
    volumes: tuple[Volume, ...]
    regions: bool
    table: LabelTable
    quality: Quality | None = None

    @property
    def title(self) -> str:
        """Name without its task."""
        return self.name.removesuffix(f"_desc-{self.task}")

    @property
    def structures(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Names and ids of the rows: results with the same ones can be compared."""
        return tuple((volume.name, volume.ids) for volume in self.volumes)

    def path(self, kind: str) -> Path:
        """File with the `labels`, `volumes` or `picture`."""
        return Path(self.output + RESULTS[kind])


@dataclass(frozen=True)
class Source:
    """The file that a result was made from, and, of several volumes in it, the index along the fourth axis."""

    path: str
    volume: int | None = None


def find_results(folder: str | Path, table: str | None = None) -> tuple[list[ScanResult], list[str]]:
    """Read the tables of all finished results in an `output_dir`, or a folder in it, and its subfolders.

    Args:
        folder: the folder.
        table: label table of the results (name or path), where it is none of the package.

    Returns:
        The results, by name, and a sentence for each that cannot be used.

    Raises:
        InputError: there is no such folder, nothing in it is finished, or none of it can be used.
    """
    root = user_path(folder)
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder. Give the folder that the results were written to.")
    names = [table] if table else label_tables()
    tables = [LabelTable.load(name, auxiliary) for auxiliary in (True, False) for name in names]
    results, problems = [], []
    for path in files_below(root):
        output = str(path).removesuffix(RESULTS["volumes"])
        if output == str(path) or path.name.startswith("."):
            continue
        if not is_finished(output):
            missing = ", ".join(Path(output + end).name for end in RESULTS.values() if not Path(output + end).is_file())
            problems.append(f"{path}: {missing} missing, so the scan is not finished. Run the bundle again.")
            continue
        try:
            results.append(_read_result(path, root, output, tables))
        except InputError as error:
            problems.append(str(error))
    if not results and problems:
        raise InputError("\n".join(problems))
    if not results:
        raise InputError(
            f"{root}: no results in this folder or its subfolders (*{RESULTS['volumes']}). Expected the output_dir of "
            "a bundle's inference.json."
        )
    for remark in other_settings(results):
        logger.warning(remark)
    return results, problems


def other_settings(results: Sequence[ScanResult]) -> list[str]:
    """A sentence for each task whose results were made with different weights or options: they cannot be compared."""
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        if settings := settings_of(result.path("labels")):
            groups[result.task][settings].append(result.name)
    remarks = []
    for task, names in groups.items():
        if len(names) > 1:
            few, total = min(names.values(), key=len), sum(map(len, names.values()))
            made = f"{len(few)} of {total} results were made with other weights or options than the rest"
            remarks.append(f"{task}: {made}, first {few[0]}.")
    return remarks


def find_sources(results: Sequence[ScanResult], folder: str | Path, source: Sequence[str]) -> dict[str, Source]:
    """Find the scans that results were made from, by the names that a run would give their results.

    Args:
        results: see `find_results`.
        folder: the folder of the results.
        source: what was the `--input` of the run: files, folders or patterns.

    Returns:
        `output` of a result to its scan; results whose scan is not among them are left out.

    Raises:
        InputError: nothing is found, none of it can be read, or it has no scan of these results.
    """
    images: dict[str, dict] = {}
    problems = []
    for task, regions in sorted({(result.task, result.regions) for result in results}):
        for given in _inputs(source, regions):
            try:
                items = (find_cases if regions else find_scans)(given, str(folder), task=task, overwrite=True)
            except InputError as problem:  # it may be the input of another task
                problems.append(problem)
                continue
            images |= {os.path.abspath(item["output"]): item for item in items if "problem" not in item}
    if problems and not images:
        raise problems[0]
    named = defaultdict(list)
    for output, item in images.items():
        named[Path(output).name].append(item)
    sources = {}
    for result in results:
        # The folder may be a part of the run's, or the input a part of it: then a name decides that is the only one.
        alike = named[Path(result.output).name]
        item = images.get(os.path.abspath(result.output)) or (alike[0] if len(alike) == 1 else None)
        if item is not None:
            sources[result.output] = _displayed(item, str(result.path("labels")))
    if not sources:
        raise InputError(
            f"{', '.join(source)}: none of the results in {folder} was made from these scans. Expected the --input of "
            f"the run: scans are found by name, such as {Path(results[0].title).name}.nii.gz for "
            f"{Path(results[0].output).name}*."
        )
    return sources


def _inputs(source: Sequence[str], regions: bool) -> list[str | list[str]]:
    """What the finder of a task takes one after the other: a list of files is one case to that of regions."""
    if len(source) == 1:
        return [source[0]]
    if regions and not all(user_path(path).is_file() for path in source):
        return list(source)
    return [list(source)]


def _displayed(item: dict, labels: str) -> Source:
    """The image of a case to look at, which is the one whose grid the labels have."""
    image = item["image"]
    if isinstance(image, str):
        channels = item["channels"].split("+") if "channels" in item else []
        order = [channels.index(name) for name in REFERENCE_ORDER if name in channels]
        return Source(image, order[0] if order else None)
    candidates = [image[name] for name in REFERENCE_ORDER if name in image]
    try:
        return Source(image_on_grid(candidates, labels))
    except InputError:
        return Source(candidates[-1])


def _read_result(path: Path, root: Path, output: str, tables: Sequence[LabelTable]) -> ScanResult:
    try:
        rows = read_tsv(path, "name")
        columns = list(rows[0]) if rows else []
        ids = "id" if "id" in columns else "labels"
        if not {"name", "mm3", ids} <= set(columns):
            raise InputError(f"{path}: columns are {columns}, expected id (or labels), name and mm3.")
        volumes = tuple(_volume(row, ids) for row in rows)
    except InputError:
        raise
    except (OSError, ValueError, AttributeError, TypeError) as error:  # the last two: a row that is too short
        raise InputError(
            f"{path}: cannot be read as a table of volumes ({error}). Run the bundle again with --overwrite True."
        ) from error
    single = {(volume.ids[0], volume.name) for volume in volumes if len(volume.ids) == 1}
    for table in tables:
        if {(entry.id, entry.name) for entry in table.structures} <= single:
            name = Path(output).relative_to(root).as_posix()
            task = re.search(r"_desc-([A-Za-z0-9]+)$", name)
            name_of_task = task.group(1) if task else ""
            quality = _rate(path, name_of_task, {volume.name for volume in volumes})
            return ScanResult(name, output, name_of_task, volumes, ids == "labels", table, quality)
    raise InputError(f"{path}: its structures belong to no known label table. Name the table of the run with --table.")


def _rate(path: Path, task: str, names: set[str]) -> Quality | None:
    """The grade by the limits of the bundle of a task, if it is here and they are of the same structures."""
    if task not in BUNDLES:
        return None
    file = Path(bundle_root(BUNDLES[task]), "configs", "quality.tsv")
    if not file.is_file():
        return None
    limits = QualityLimits.load(file)
    return limits.rate(path) if names.issuperset(limits.limits) else None


def _volume(row: dict[str, str], ids: str) -> Volume:
    percent = row.get("percent_of_icv", row.get("percent_of_brain", MISSING))
    texts = (row["mm3"], row.get("expected_dsc", MISSING), percent)
    numbers = [None if text == MISSING else float(text) for text in texts]
    known = numbers[0] is not None or row["name"] == ICV
    if not known or not all(number is None or (math.isfinite(number) and number >= 0) for number in numbers):
        raise ValueError(f"{row['name']} has the volume {texts[0]} and the expected DSC {texts[1]}")
    found = () if row[ids] == MISSING else tuple(int(part) for part in row[ids].split("+"))
    return Volume(row["name"], found, *numbers)
