"""Cases of several modalities: which files belong together, for inference and for training."""

from __future__ import annotations

import glob
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
from monai.data import load_decathlon_datalist

from monai_mamba.data.bids import ignored_files, is_raw_dataset, parts_and_echoes
from monai_mamba.data.content import other_than_scan
from monai_mamba.data.image_file import open_image
from monai_mamba.data.image_header import check_header
from monai_mamba.data.label_values import read_label_ids
from monai_mamba.data.modalities import (
    DISPLAY,
    MODALITIES,
    NAMES_KNOWN,
    channel_order,
    in_modality_folders,
    recognize,
    subset_name,
)
from monai_mamba.data.pairs import image_on_grid, warn_of_copies
from monai_mamba.data.scans import bare_name, describe_left_out, fixed_part, is_image, matches, plan_results
from monai_mamba.errors import InputError
from monai_mamba.files import files_below, user_path
from monai_mamba.grids import bounding_box
from monai_mamba.labels import RegionTable
from monai_mamba.ranks import on_first_rank

DATALIST = "dataset.json"
RESULT = "_desc-tumor_dseg"
LABEL_MAPS_TRIED = 3  # of a data set
ORDER = ", ".join(DISPLAY.values())

logger = logging.getLogger(__name__)


@dataclass
class TumorCase:
    """Files of one case.

    Attributes:
        name: name for results.
        folder: folder relative to where the search began.
        image: modality to file, or one file with a volume for each of `channels`.
        channels: modalities of the volumes of a single file.
        label: label map, if there is one.
        problem: what is wrong with the files.
    """

    name: str
    folder: Path
    image: dict[str, str] | str = field(default_factory=dict)
    channels: tuple[str, ...] = MODALITIES
    label: str | None = None
    problem: str | None = None

    @property
    def present(self) -> tuple[str, ...]:
        """Modalities that have a file or a volume, in channel order."""
        there = self.channels if isinstance(self.image, str) else self.image
        return tuple(name for name in MODALITIES if name in there)

    @property
    def title(self) -> str:
        """Name for messages."""
        return self.name if self.folder.name in ("", self.name) else (self.folder / self.name).as_posix()

    def add(self, kind: str, path: str) -> None:
        """Take a file in, `kind` being a modality or `"label"`."""
        known = self.label if kind == "label" else self.image.get(kind)
        if known:
            what = "the label map" if kind == "label" else f"the modality {DISPLAY[kind]}"
            self.problem = (
                f"{path}: {known} is also {what} of the case {self.name}; expected one file. Remove one of them."
            )
        elif kind == "label":
            self.label = path
        else:
            self.image[kind] = path

    def check(self) -> None:
        """Check the headers of the images; their voxels are not read.

        Raises:
            InputError: a file cannot be processed.
        """
        if self.problem:
            raise InputError(self.problem)
        if isinstance(self.image, Mapping):
            for modality, path in self.image.items():
                if kind := other_than_scan(path):
                    raise InputError(
                        f"{path}: {kind}, not a scan, but it is named as the modality {DISPLAY[modality]} of the case "
                        f"{self.name}. Give that image, or take this one away."
                    )
                check_header(path)
            return
        count = _volumes(self.image)
        if count is not None and count != len(self.channels):
            found = "one volume, and a file name without a modality" if count == 1 else f"{count} volumes in one file"
            raise InputError(
                f"{self.image}: {found}; expected {len(self.channels)} volumes, in the order "
                f"{', '.join(DISPLAY[name] for name in self.channels)}. If a modality is missing, give the others as "
                f"separate files. {NAMES_KNOWN}"
            )
        check_header(self.image, volumes=len(self.channels))

    def item(self) -> dict:
        """Entries for `LoadModalitiesd`."""
        entries = {"name": self.title, "image": self.image, "present": "+".join(self.present)}
        return entries | ({"channels": "+".join(self.channels)} if isinstance(self.image, str) else {})


@on_first_rank
def find_cases(
    source: str | Sequence[str] | Mapping[str, str],
    output_dir: str,
    task: str,
    overwrite: bool = False,
    settings: str | None = None,
) -> list[dict]:
    """List the cases of a run. Headers of those to segment are checked; voxels are not read.

    Args:
        source: a folder (searched with its subfolders; one case per folder or several side by side), a pattern, the
            files of one case in a list, a mapping from modality to file, one 4-D file with the volumes FLAIR, T1, T1ce,
            T2, or a datalist (`dataset.json`, whose `test` list is taken, or `training` without one; also where the
            folder holds one). A case may lack up to three modalities. Names: `NAMES_KNOWN`.
        output_dir: folder of the results; the subfolders below `source` are repeated there.
        task: goes into the names of the results, `<case>_desc-<task>_dseg.nii.gz`.
        overwrite: also segment cases whose results are complete.
        settings: see `find_scans`.

    Returns:
        One dictionary a case: `name`; `image`, a mapping from modality to path, or the path of a 4-D file with its
        `channels`; `present`, the modalities joined by `+`; `output`, path of its results without their endings;
        `finished`, only where there is nothing to do; and `problem`, only where it cannot be processed, with the
        reason. In a run of several processes, all get what the first one found.

    Raises:
        InputError: nothing was found, or no case can be processed.
    """
    found = [(case.item(), case.folder / case.name, case.check) for case in _collect(source, labeled=False)]
    return plan_results(found, output_dir, task, overwrite, settings)


def find_labeled_cases(dataset_dir: str, label_convention: str) -> list[dict]:
    """List the cases of a data set that have a label map, which must lie on the grid of one of the modalities.

    Args:
        dataset_dir: folder with a folder per case, or with a `dataset.json`, or the path of such a file (its list
            `training` is taken).
        label_convention: see `RegionTable`; where a `dataset.json` names its labels, they are compared with it. If the
            edema lies within the core by it in the first label maps, a warning says so.

    Returns:
        Dictionaries with `subject` (a unique name), `person` (where BraTS names tell it: several time points may be of
        one person), `label`, and the entries of `find_cases`.

    Raises:
        InputError: nothing was found, a file cannot be used, or a label map belongs to another grid or convention.
    """
    table = RegionTable.load(label_convention)
    items = []
    for case in _collect(dataset_dir, labeled=True, table=table):
        if not case.label or not case.image:
            what = "no label map (NAME_seg or NAME-seg)" if case.image else "a label map but no modality"
            logger.warning("%s: %s; left out.", case.title, what)
            continue
        case.check()
        check_header(case.label)
        image_on_grid([case.image] if isinstance(case.image, str) else list(case.image.values()), case.label)
        person = re.match(r"BraTS-[A-Za-z]+-\d+", case.name)
        item = {**case.item(), "label": case.label, "subject": case.title}
        items.append(item | ({"person": person.group()} if person else {}))
    if not items:
        raise InputError(f"{dataset_dir}: no case with modalities and a label map (_seg, -seg). {NAMES_KNOWN}")
    _warn_of_exchanged_labels(items, table)
    images = [item["image"] for item in items]
    warn_of_copies(image if isinstance(image, str) else next(iter(image.values())) for image in images)
    names = [item["subject"] for item in items]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{dataset_dir}: two cases are named {twice}. Give one of them another name.")
    return items


def _collect(
    source: str | Sequence[str] | Mapping[str, str], labeled: bool, table: RegionTable | None = None
) -> list[TumorCase]:
    if isinstance(source, (Mapping, list, tuple)) and not source:
        raise InputError(f"--input names no file; expected 1 to 4, the modalities of one case: {ORDER}.")
    if isinstance(source, Mapping):
        order = channel_order(source, "--input")
        files = {name: str(user_path(path)) for name, path in zip(order, source.values(), strict=True)}
        return [TumorCase(recognize(next(iter(files.values())))[0], Path(), files)]
    if isinstance(source, (list, tuple)):
        return [_one_case([user_path(path) for path in source])]
    root = user_path(source)
    if root.suffix == ".json":
        return _from_datalist(root, labeled, table)
    if (root / DATALIST).is_file():
        return _from_datalist(root / DATALIST, labeled, table)
    if root.is_dir():
        return _group(files_below(root), root)
    if glob.has_magic(str(root)) and not root.exists():
        return _group(matches(root), fixed_part(root), what=f"the pattern {source}")
    if not root.is_file():
        raise InputError(f"{root}: there is no such file or folder. Check the path given as 'input'.")
    return [_one_case([root])]


def _one_case(paths: list[Path]) -> TumorCase:
    """The case of files that are named one by one: all must be of one case."""
    if len(paths) == 1 and (recognize(paths[0])[1] in (None, "label") or (_volumes(paths[0]) or 1) > 1):
        return TumorCase(bare_name(paths[0]), Path(), str(paths[0]))
    if not 1 <= len(paths) <= len(MODALITIES):
        raise InputError(f"--input names {len(paths)} files; expected 1 to 4, the modalities of one case: {ORDER}.")
    known = [recognize(path) for path in paths]
    for path, (_, kind) in zip(paths, known, strict=True):
        if kind not in MODALITIES:
            raise InputError(
                f"{path}: the file name does not show the modality. {NAMES_KNOWN} Other names: --input \"{{'flair': "
                "'a.nii.gz', 't1': 'b.nii.gz', ...}\"."
            )
    cases = sorted({case for case, _ in known})
    if len(cases) > 1:
        raise InputError(
            f"By their names, the input files belong to different cases: {', '.join(cases)}. Expected the modalities "
            "of one case; for several cases, give their folder."
        )
    case = TumorCase(cases[0], Path())
    for path, (_, kind) in zip(paths, known, strict=True):
        case.add(kind, str(path))
    return case


def _group(files: Iterable[Path], root: Path, what: str | None = None) -> list[TumorCase]:
    """Cases of files found below a folder: those of one name, side by side; and every file with four volumes.

    Files of one case may also lie in a folder for each modality.
    """
    paths = [path for path in files if is_image(path) and not bare_name(path).endswith(RESULT)]
    if is_raw_dataset(root):
        paths = [path for path in paths if path.relative_to(root).parts[0].startswith("sub-")]
    left_out = ignored_files(root, paths) | parts_and_echoes(paths)
    paths = [path for path in paths if path not in left_out]
    placed = in_modality_folders(paths, root)
    cases: dict[tuple[Path, str], TumorCase] = {}
    for path in paths:
        folder, name, kind = placed.get(path) or (path.parent.relative_to(root), *recognize(path))
        if kind is None and _volumes(path) == len(MODALITIES):
            cases[folder, str(path)] = TumorCase(name, folder, str(path))
        elif kind is None:
            left_out[path] = "file name without a modality"
        else:
            cases.setdefault((folder, name), TumorCase(name, folder)).add(kind, str(path))
    if left_out:
        logger.warning("Not taken from %s: %s.", what or root, describe_left_out(left_out))
    found = [case for case in cases.values() if case.image]
    if not found:
        raise InputError(f"{what or root}: no file in it is a modality of a case. {NAMES_KNOWN}")
    return found


def _from_datalist(path: Path, labeled: bool, table: RegionTable | None) -> list[TumorCase]:
    """Cases of a datalist in the format of the Medical Segmentation Decathlon."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        key = "test" if not labeled and content.get("test") else "training"
        entries = load_decathlon_datalist(path, data_list_key=key)
        names = content.get("modality") or content.get("channel_names") or {}
        order = channel_order([names[index] for index in sorted(names, key=int)], path) if names else MODALITIES
        images = [entry["image"] for entry in entries]
        if not images:
            raise ValueError(f"its list '{key}' is empty")
        if odd := [image for image in images if not isinstance(image, (str, list))]:
            raise ValueError(f"an image is {odd[0]}, not a path or a list of paths")
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a datalist ({str(error) or type(error).__name__}); expected the format of the Medical "
            'Segmentation Decathlon: {"modality": {"0": "FLAIR", ...}, "training": [{"image": ..., "label": ...}]}.'
        ) from error
    if table:
        _compare_label_names(path, content.get("labels"), table)
    return [_datalist_case(path, image, entry, order) for image, entry in zip(images, entries, strict=True)]


def _datalist_case(path: Path, image: str | list[str], entry: Mapping, order: tuple[str, ...]) -> TumorCase:
    label = entry.get("label")
    if isinstance(image, str):
        return TumorCase(bare_name(Path(image)), Path(), image, order, label)
    case = TumorCase(recognize(image[0])[0] if image else "case", Path(), label=label)
    if len(image) != len(order):
        case.problem = (
            f"{path}: the case {case.name} has {len(image)} files; expected {len(order)}, for the channels "
            f"{subset_name(order)}. Correct the entry, or the list 'modality'."
        )
    case.image = dict(zip(order, image, strict=False))
    return case


def _compare_label_names(path: Path, names: object, table: RegionTable) -> None:
    """Refuse a convention that contradicts the names in a datalist: swapped labels are not seen in the values."""
    if not isinstance(names, Mapping):
        return
    pairs = [(key, value) if str(key).isdigit() else (value, key) for key, value in names.items()]
    expected = next(entry.id for entry in table.labels if "edema" in entry.name)
    for number, name in pairs:
        if "edema" in str(name).lower() and str(number) != str(expected):
            raise InputError(
                f"{path}: label {number} is '{name}', but the convention {table.convention} expects edema to be "
                f"{expected}. Set --label_convention (brats_msd is that of Decathlon Task01)."
            )


def _warn_of_exchanged_labels(items: Sequence[Mapping], table: RegionTable) -> None:
    """Warn where the core has more faces to what is no tumor than the edema has, which other conventions exchange.

    In 9 cases (BraTS 2021, TCGA) the edema has 2.5 to 4000 times as many.
    """
    edema, core = (next(entry for entry in table.labels if kind in entry.name) for kind in ("edema", "core"))
    faces = {edema.id: 0, core.id: 0}
    for item in items[:LABEL_MAPS_TRIED]:
        with suppress(InputError):  # said by who needs the label map
            ids = read_label_ids(item["label"])
            if not set(faces) <= set(np.unique(ids)):
                continue
            part = ids[bounding_box(ids > 0, 1)]
            for axis, label in product(range(3), faces):
                line = np.moveaxis(part, axis, 0)
                faces[label] += sum(
                    np.count_nonzero((one == label) & (other == 0))
                    for one, other in ((line[1:], line[:-1]), (line[:-1], line[1:]))
                )
    if faces[core.id] > faces[edema.id]:
        logger.warning(
            "%s and others: label %d (%s in %s) lies outside of label %d (%s). Check --label_convention: in brats_msd "
            "edema is 1 and necrotic core 2, in the others the other way round.",
            items[0]["label"],
            core.id,
            core.name,
            table.convention,
            edema.id,
            edema.name,
        )


def _volumes(path: str | Path) -> int | None:
    """Volumes of a file by its header; None if it cannot be read, which `check_header` explains."""
    try:
        shape = open_image(path).shape
    except InputError:
        return None
    return shape[3] if len(shape) > 3 else 1
