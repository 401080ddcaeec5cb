"""Which scans a run covers, and where their results go."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path

from monai_mamba.data.bids import ignored_files, is_raw_dataset, parts_and_echoes, t1_weighted_scans
from monai_mamba.data.content import find_copies, may_be_labels_of, other_than_scan, settings_of
from monai_mamba.data.dicom import choose_series, describe_choice, is_series, series_of
from monai_mamba.data.dicom_files import DICOM_SUFFIXES, is_dicom
from monai_mamba.data.dicom_seg import check_dicom_seg
from monai_mamba.data.freesurfer import beside_scans_of_subjects, subject_of
from monai_mamba.data.image_file import read_image
from monai_mamba.data.image_header import IMAGE_SUFFIXES, PACKED_SUFFIXES, check_header
from monai_mamba.errors import InputError
from monai_mamba.files import files_below, user_path
from monai_mamba.ranks import on_first_rank

BIDS_SUFFIX = "_T1w"
DERIVATIVES = ("_dseg", "_mask", "_probseg")
RESULTS = {"labels": "_dseg.nii.gz", "volumes": "_volumes.tsv", "picture": "_picture.png"}
EXTRA_RESULTS = {"mgz": "_dseg.mgz", "stats": "_aseg.stats", "dicom_seg": "_dseg.dcm"}  # not of every scan
NOT_READ = (".hdr", ".img", ".mnc", ".brik", ".brik.gz", ".rec", *PACKED_SUFFIXES)
NAMES_LOGGED = 5  # of the files of a kind that are left out
LONGEST_NAME = 255 - 30  # bytes; the longest ending has 12, and a file that is not complete yet 18 more

logger = logging.getLogger(__name__)

LeftOut = dict[Path, str]  # and what the file is


@on_first_rank
def find_scans(
    source: str | Sequence[str],
    output_dir: str,
    task: str,
    overwrite: bool = False,
    dicom_seg: bool = False,
    settings: str | None = None,
) -> list[dict]:
    """List the scans of a run. Headers of those to segment are checked, and some voxels, to tell label maps.

    Args:
        source: a file, a folder (searched with its subfolders), a pattern such as `data/*/anat/*_T1w.nii.gz` (`**`
            stands for any depth), or a list of those. Of a BIDS data set (a folder with a `dataset_description.json`,
            unless that of a derivative) only `sub-*/[ses-*/]anat/*_T1w.nii[.gz]` are taken. Of another folder that
            holds names ending in `_T1w`, only those. Of a FreeSurfer subject one volume, see
            `beside_scans_of_subjects`. Of DICOM files without other images one series a study, see `choose_series`; one
            such file, or `FOLDER/series-3`, stands for its series. Label maps never, nor what `parts_and_echoes` names.
            What is left out is logged.
        output_dir: folder of the results; the subfolders below `source` are repeated there.
        task: goes into the names of the results, `<name>_desc-<task>_dseg.nii.gz`.
        overwrite: also segment scans whose results are complete.
        dicom_seg: scans must pass `check_dicom_seg`.
        settings: see `settings_in_use`; results of others are not taken for those of this run.

    Returns:
        One dictionary a scan: `image`, its path; `output`, path of its results without their endings (`RESULTS`);
        `finished`, only where there is nothing to do; `problem`, only where the file cannot be processed, with the
        reason; and `note`, only where it is a copy of another one. In a run of several processes, all get what the
        first one found.

    Raises:
        InputError: nothing was found, or none of the scans can be processed.
    """
    if isinstance(source, Mapping):
        raise InputError(f"{source}: expected one image a scan, not one for each modality. Give its path.")
    found: dict[Path, tuple[Path, bool]] = {}
    left_out: LeftOut = {}
    for one in source if isinstance(source, (list, tuple)) else [source]:
        root, files, is_named = _expand(str(one), left_out)
        for path in files:
            found.setdefault(path, (root, is_named))
    entries = []
    for path, (root, is_named) in found.items():
        subject = subject_of(path)
        folder = subject.parent if subject else path.absolute().parent
        name = subject.name if subject else bare_name(path).removesuffix(BIDS_SUFFIX)
        if is_series(path):  # named by the folder of its files
            folder, name = folder.parent, f"{folder.name}_{name}"
        below = folder.relative_to(root.absolute()) if folder.is_relative_to(root.absolute()) else Path()
        entries.append(({"image": str(path)}, below / name, partial(_check, path, is_named, dicom_seg)))
    scans = plan_results(entries, output_dir, task, overwrite, settings, left_out)
    if left_out:
        logger.info("Not taken from %s: %s.", source, describe_left_out(left_out))
    if not scans:
        raise InputError(f"{source}: no scan there. Found {describe_left_out(left_out) or 'nothing'}.")
    return scans


def plan_results(
    found: Sequence[tuple[dict, Path, Callable[[], str | None]]],
    output_dir: str | Path,
    task: str,
    overwrite: bool,
    settings: str | None = None,
    left_out: LeftOut | None = None,
) -> list[dict]:
    """Say where the results of scans or cases go, which of them are there, and which cannot be made.

    Args:
        found: for each its entries; the name of its results relative to `output_dir`, without `_desc-<task>`; and what
            checks its files, raising an `InputError`, or saying what the image is if it is no scan.
        output_dir: see `find_scans`, as are `task`, `overwrite` and `settings`.
        left_out: takes the images that are no scans, where some may be.

    Returns:
        The entries with `output`, and `finished`, `problem` or `note` where there is one, see `find_scans`.

    Raises:
        InputError: none of them can be processed.
    """
    items: list[dict] = []
    first_of: dict[str, str] = {}
    for entries, name, check in found:
        output = str(user_path(output_dir) / name.parent / f"{name.name}_desc-{task}")
        item, title = {**entries, "output": output}, entries.get("name", entries["image"])
        try:
            if len(os.fsencode(Path(output).name)) > LONGEST_NAME:
                raise InputError(
                    f"{title}: the names of its results would be longer than file systems allow (255 bytes). Rename "
                    "the file, or give a link to it that has a shorter name."
                )
            if not overwrite and output not in first_of and is_finished(output) and _is_whole(output):
                if not may_be_labels_of(output + RESULTS["labels"], _files(item)):
                    raise InputError(
                        f"{title}: {output}{RESULTS['labels']} is there and was made from other files, or from these "
                        "before they changed. Choose another --output_dir, or replace it with --overwrite True."
                    )
                if settings and settings_of(output + RESULTS["labels"]) not in (None, settings):
                    raise InputError(
                        f"{title}: {output}{RESULTS['labels']} is there and was made with other weights or options. "
                        "Give those, or choose another --output_dir, or replace it with --overwrite True."
                    )
                item["finished"] = True
            elif kind := check():
                left_out[Path(entries["image"])] = kind
                continue
            elif output in first_of:
                raise InputError(
                    f"{title}: its results would get the same name as those of {first_of[output]} ({output}*). "
                    "Rename one, or run them with different output folders."
                )
        except InputError as error:
            item["problem"] = str(error)
        first_of.setdefault(output, title)
        items.append(item)
    _note_copies(items)
    if finished := sum("finished" in item for item in items):
        text = "Finished before: %d of %d, in %s (--overwrite True segments them again)."
        logger.info(text, finished, len(items), output_dir)
    problems = [item["problem"] for item in items if "problem" in item]
    if problems and len(problems) == len(items):
        raise InputError("\n".join(problems))
    return items


def _note_copies(items: Sequence[dict]) -> None:
    """Note and warn where the file of a scan is that of another one, too: one of the names is probably wrong."""
    item_of: dict[str, dict] = {}
    for item in items:
        item_of |= {path: item for path in _files(item) if "problem" not in item}
    for path, other in find_copies(item_of).items():
        if item_of[path] is not item_of[other]:
            item_of[path]["note"] = f"{path} is the same file as {other}"
            logger.warning("%s, under another name. Check which name is right.", item_of[path]["note"])


def _files(item: Mapping) -> list[str]:
    return list(item["image"].values()) if isinstance(item["image"], Mapping) else [item["image"]]


def is_finished(output: str) -> bool:
    """Whether all results of a scan are there; each appears under its final name only when complete."""
    return all(Path(output + ending).is_file() for ending in RESULTS.values())


def _is_whole(output: str) -> bool:
    """Whether the label map of a finished scan is undamaged, with a warning if not."""
    try:
        read_image(output + RESULTS["labels"])
    except InputError as error:
        logger.warning("%s The scan is segmented again.", error)
        return False
    return True


def _check(path: Path, is_named: bool, dicom_seg: bool) -> str | None:
    """Check a scan before it is read; see `plan_results`."""
    if path.is_dir():
        raise InputError(describe_choice(path))
    kind = other_than_scan(path)
    if kind is None:
        check_header(path)
        if dicom_seg:
            check_dicom_seg(path)
    elif is_named:
        raise InputError(f"{path}: {kind}, not a scan. Expected the gray values of a head.")
    return kind


def _expand(source: str, left_out: LeftOut) -> tuple[Path, list[Path], bool]:
    """Where the search begins, the files, and whether the user has named the file itself."""
    root = user_path(source)
    if root.is_dir() and is_raw_dataset(root):
        images = t1_weighted_scans(root)
        if not images:
            raise InputError(
                f"{root}: no T1-weighted scan in this BIDS data set; expected sub-*/[ses-*/]anat/*_T1w.nii[.gz]. "
                'For other files, use a pattern such as --input "FOLDER/**/*.nii.gz".'
            )
        left_out |= ignored_files(root, images)
    elif root.is_dir():
        images = _images_or_series(root, files_below(root), left_out)
        if not images:
            found = (
                f" Found {describe_left_out(left_out)}. Convert them, for example with dcm2niix." if left_out else ""
            )
            raise InputError(
                f"{root}: no image in this folder or its subfolders ({', '.join(IMAGE_SUFFIXES)}, DICOM).{found}"
            )
        left_out |= beside_scans_of_subjects(images)
        if any(bare_name(path).endswith(BIDS_SUFFIX) for path in images):
            others = [path for path in images if not bare_name(path).endswith(BIDS_SUFFIX)]
            left_out |= dict.fromkeys(others, f"name without {BIDS_SUFFIX}") | left_out
    elif root.exists() or is_series(root) or not glob.has_magic(str(root)):
        return root.parent, [series_of(root) if root.is_file() and is_dicom(root) else root], True
    else:
        images = _images_or_series(root, matches(root), left_out)
        if not images:
            raise InputError(f"No image matches the pattern {source}. Check it with 'ls', and quote it in the shell.")
        left_out |= beside_scans_of_subjects(images)
        root = fixed_part(root)
    left_out |= {path: "label map by its name" for path in images if bare_name(path).endswith(DERIVATIVES)}
    left_out |= parts_and_echoes(path for path in images if path not in left_out)
    return root, [path for path in images if path not in left_out], False


def _images_or_series(root: Path, files: Sequence[Path], left_out: LeftOut) -> list[Path]:
    """The images among files; where there is none, the DICOM series."""
    images = [path for path in files if is_image(path)]
    left_out |= {path: "format that is not read" for path in files if path.name.lower().endswith(NOT_READ)}
    dicom = [path for path in files if path.name.lower().endswith(DICOM_SUFFIXES) or (not images and is_dicom(path))]
    if images:
        left_out |= {path.parent: "folder with DICOM files, beside other images" for path in dicom}
    elif dicom:
        images, others = choose_series(root, dicom)
        left_out |= others
    return images


def is_image(path: Path) -> bool:
    """Whether a file is an image by its name, and not a hidden one."""
    return (
        path.name.lower().endswith(IMAGE_SUFFIXES)
        and not path.name.startswith(".")
        and (path.is_file() or path.is_symlink())  # a link that leads nowhere is reported, not passed over
    )


def matches(pattern: Path) -> list[Path]:
    """Files that match a pattern, by path."""
    return [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]


def fixed_part(pattern: Path) -> Path:
    """The folders of a pattern up to its first wildcard."""
    return Path(*takewhile(lambda part: not glob.has_magic(part), pattern.parent.parts))


def bare_name(path: Path) -> str:
    """File name without the endings of image files."""
    ending = next((suffix for suffix in IMAGE_SUFFIXES if path.name.lower().endswith(suffix)), "")
    return path.name[: len(path.name) - len(ending)]


def describe_left_out(left_out: LeftOut) -> str:
    """What is not taken, in words, with some names of each kind."""
    kinds: dict[str, list[str]] = {}
    for path, kind in left_out.items():
        kinds.setdefault(kind, []).append(str(path))
    some = {kind: names[:NAMES_LOGGED] + ["..."] * (len(names) > NAMES_LOGGED) for kind, names in kinds.items()}
    return "; ".join(f"{kind} ({len(names)}: {', '.join(some[kind])})" for kind, names in kinds.items())
