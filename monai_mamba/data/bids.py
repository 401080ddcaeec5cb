"""BIDS data sets: which scans to take from one, and what makes a folder of results a derivative of it.

Source: Brain Imaging Data Structure 1.10.0, sections "Dataset description", "Anatomy imaging data" and "Imaging
derivatives: segmentations".
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from monai_mamba.errors import writing
from monai_mamba.files import read_json, table_text, user_path, write_text
from monai_mamba.labels import LabelTable
from monai_mamba.ranks import rank_and_size
from monai_mamba.version import __version__

DESCRIPTION = "dataset_description.json"
BIDS_VERSION = "1.10.0"
SUBJECTS = ("sub-*", "sub-*/ses-*")

logger = logging.getLogger(__name__)


def is_raw_dataset(folder: Path) -> bool:
    """Whether a folder is the root of a BIDS data set, and not of a derivative of one."""
    kind = read_json(folder / DESCRIPTION).get("DatasetType", "raw")
    return (folder / DESCRIPTION).is_file() and str(kind).lower() == "raw"


def t1_weighted_scans(root: Path) -> list[Path]:
    """List `sub-*/[ses-*/]anat/*_T1w.nii[.gz]` of a BIDS data set by path: no derivatives, no other suffixes."""
    patterns = [f"{subject}/anat/*_T1w.nii{packed}" for subject in SUBJECTS for packed in ("", ".gz")]
    return sorted(path for pattern in patterns for path in root.glob(pattern) if not path.name.startswith("."))


def parts_and_echoes(files: Iterable[Path]) -> dict[Path, str]:
    """Images that are phase, real or imaginary, or an echo after the first, by their BIDS names; and what they are.

    Every run, acquisition and reconstruction is a scan of its own.
    """
    first: set[Path] = set()
    others = {}
    for path in sorted(files, key=lambda path: int((re.search(r"_echo-(\d+)", path.name) or [0, 0])[1])):
        scan = path.with_name(re.sub(r"_echo-\d+", "", path.name))
        if re.search("_part-(?!mag)", path.name):
            others[path] = "phase, real or imaginary part"
        elif scan in first:
            others[path] = "later echo"
        first.add(scan)
    return others


def ignored_files(root: Path, files: Iterable[Path]) -> dict[Path, str]:
    """Files that `.bidsignore` names; its lines are those of `.gitignore`, of which the last that fits decides."""
    try:
        lines = (root / ".bidsignore").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    rules = [line.strip() for line in lines if line.strip() and not line.startswith("#")]

    def is_ignored(path: Path) -> bool:
        place = path.relative_to(root).as_posix()
        fitting = [rule for rule in rules if re.fullmatch(_expression(rule.removeprefix("!")), place)]
        return bool(fitting) and not fitting[-1].startswith("!")

    return {path: "named in .bidsignore" for path in files if is_ignored(path)}


def _expression(rule: str) -> str:
    """A line of `.gitignore` as a regular expression for the paths of files: it may name them or a folder above."""
    name = rule.strip("/")
    pattern = re.escape(name).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*")
    pattern = pattern.replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    anywhere = "" if "/" in rule.rstrip("/") else "(?:.*/)?"
    return anywhere + pattern + ("/.*" if rule.endswith("/") else "(?:/.*)?")


def describe_derivatives(
    source: str | Sequence[str], output_dir: str | Path, task: str, labels: LabelTable | str
) -> None:
    """Make the results of a BIDS data set a BIDS derivative; other inputs need no description, and nothing is done.

    Written once, by the first process of a run, into `output_dir`; a file that is there is kept:

    * `dataset_description.json`, with `DatasetType` and `GeneratedBy`.
    * `desc-<task>_dseg.tsv`: `index`, `name` and `color` of each label; `desc-<task>_dseg.json`: that label maps lie on
      the grid of the scan. By the inheritance principle both describe all `*_desc-<task>_dseg.nii.gz` below.
    * `.bidsignore`: names the results for which BIDS has no names, so that validators pass them over.

    Args:
        source: what the run was given as input; a folder with a `dataset_description.json` is a BIDS data set.
        output_dir: folder of the results.
        task: as in the names of the results.
        labels: label table of the results, see `LabelTable.load`.

    Raises:
        OutputError: a file cannot be written.
    """
    if not isinstance(source, (str, Path)) or rank_and_size()[0] != 0 or not is_raw_dataset(user_path(source)):
        return
    root, output = user_path(source), user_path(output_dir)
    if is_raw_dataset(output):
        logger.warning(
            "%s is a raw BIDS data set; results should not be written into it. Use a separate folder, for example "
            "--output_dir %s.",
            output,
            root / "derivatives" / f"monai-mamba-{task}",
        )
        return
    about = read_json(root / DESCRIPTION)
    description = {
        "Name": f"{about.get('Name', root.resolve().name)}: {task} labels",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "monai-mamba", "Version": __version__, "Description": f"{task} labels"}],
    }
    if doi := about.get("DatasetDOI"):
        description["SourceDatasets"] = [{"DOI": doi}]
    sidecar = {"Description": f"{task} labels on the grid of the scan", "Manual": False, "SpatialReference": "orig"}
    colors = [
        (entry.id, entry.name, f"#{bytes(entry.color[:3]).hex()}") for entry in LabelTable.load(labels).structures
    ]
    files = {
        DESCRIPTION: _to_json(description),
        f"desc-{task}_dseg.json": _to_json(sidecar),
        f"desc-{task}_dseg.tsv": table_text(["index", "name", "color"], colors),
        ".bidsignore": "*_volumes.tsv\n*_picture.png\n*_dseg.mgz\n*_aseg.stats\ncases*.tsv\n",
    }
    for name, text in files.items():
        if (output / name).exists():
            continue
        with writing(f"{output / name}:"):
            write_text(output / name, text)


def _to_json(content: dict) -> str:
    return json.dumps(content, indent=4, ensure_ascii=False) + "\n"
