"""Sets of label maps, the files of each subject, and the tables that bundles write beside label maps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_mamba.data.image_header import IMAGE_SUFFIXES
from monai_mamba.data.scans import RESULTS, bare_name, is_image
from monai_mamba.errors import InputError
from monai_mamba.files import MISSING, read_tsv
from monai_mamba.grids import voxel_volume

SCORE_KEYS = ("subject", "modalities", "region", "id", "name")
Case = tuple[str, str]  # its subject, and the modalities that the network was given, where there are several


@dataclass(frozen=True)
class LabelSet:
    """Label maps of one method, or of the reference."""

    name: str  # as in the tables
    source: str  # folder, or path with `{subject}`
    files: dict[str, Path]  # label map of each subject


def find_label_set(name: str, source: str) -> LabelSet:
    """List the label maps of a set; `compare_label_maps.py` says how."""
    if "{subject}" in source:
        parts = Path(source).expanduser().parts
        first = next(index for index, part in enumerate(parts) if "{subject}" in part)
        root, rest = Path(*parts[:first]), "/".join(parts[first:])
        expression = re.escape(rest).replace(r"\{subject\}", "(?P<subject>[^/.][^/]*)", 1)
        expression = expression.replace(r"\{subject\}", "(?P=subject)")
        glob = re.sub(r"([*?[])", r"[\1]", rest).replace("{subject}", "*")
        matches = [(path, re.fullmatch(expression, path.relative_to(root).as_posix())) for path in root.glob(glob)]
        found = [(match["subject"], path) for path, match in matches if match]
    else:
        root = Path(source).expanduser()
        stems = [(bare_name(path), path) for path in filter(is_image, root.rglob("*"))]
        stems = [item for item in stems if item[0].endswith("_dseg")] or stems
        found = [(re.sub(r"(_desc-[^_]*)?_dseg$", "", stem), path) for stem, path in stems]
    files: dict[str, Path] = {}
    for subject, path in sorted(found):
        if subject in files:
            raise InputError(
                f"{name}: {files[subject]} and {path} both belong to subject {subject}. Keep one of them, or say which "
                f"files are meant by a path with {{subject}}, such as '{root}/{{subject}}/aseg.mgz'."
            )
        files[subject] = path
    if not files:
        raise InputError(
            f"{name}: no label map found for '{source}' below {root}. Give a folder with files "
            f"{', '.join(IMAGE_SUFFIXES)}, or a path with {{subject}}."
        )
    return LabelSet(name, source, files)


def unknown_ids(scan: Mapping[str, str]) -> list[int]:
    """Ids that the label map of a scan does not know, from its row of the scan table."""
    return [int(label) for label in scan["missing"].split(",") if label]


def volumes(labels: np.ndarray, affine: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """Volume of each of some ids in a label map in mm3, voxels times voxel volume, `(len(ids),)`."""
    voxels = np.bincount(labels.ravel(), minlength=max(ids) + 1)
    return voxels[list(ids)] * voxel_volume(affine)


def volumes_of(labels: Path) -> Path:
    """The table of volumes that a bundle wrote with a label map."""
    return Path(str(labels).removesuffix(RESULTS["labels"]) + RESULTS["volumes"])


def read_column(path: str | Path, ids: Sequence[int], column: str) -> np.ndarray:
    """A column of a table of volumes for some ids, `(len(ids),)`, NaN where there is no value or no such column."""
    texts = {row["id"]: row.get(column, MISSING) for row in read_tsv(path)}
    cells = [texts.get(str(label), MISSING) for label in ids]
    return np.array([float("nan") if cell == MISSING else float(cell) for cell in cells])


def read_scores(path: Path) -> tuple[list[str], dict[Case, dict[str, list[float]]]]:
    """Metrics of a table `scores.tsv`, and their values by case and by structure or region, NaN where there is none.

    Raises:
        OSError, ValueError, LookupError, TypeError, AttributeError: it cannot be read, or is no such table.
    """
    rows = read_tsv(path)
    metrics = [name for name in rows[0] if name not in SCORE_KEYS]
    cases: dict[Case, dict[str, list[float]]] = {}
    for row in rows:
        case = cases.setdefault((row["subject"], row.get("modalities", "")), {})
        structure = row["region"] if "region" in row else row["name"]
        if structure in case:
            raise ValueError(f"{row['subject']} has two rows of {structure}")
        case[structure] = [float(row[name].replace(MISSING, "nan")) for name in metrics]
    return metrics, cases
