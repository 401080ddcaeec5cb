"""Which scans a run covers, and where their results go."""

from __future__ import annotations

import glob
import logging
from collections.abc import Sequence
from pathlib import Path

from monai_mamba.data.bids import is_raw_dataset, t1_weighted_scans
from monai_mamba.data.image_header import IMAGE_SUFFIXES, check_header
from monai_mamba.errors import InputError
from monai_mamba.files import files_below
from monai_mamba.ranks import on_first_rank

BIDS_SUFFIX = "_T1w"
DERIVATIVES = ("_dseg", "_mask", "_probseg")
RESULTS = {"labels": "_dseg.nii.gz", "volumes": "_volumes.tsv", "picture": "_picture.png"}

logger = logging.getLogger(__name__)


@on_first_rank
def find_scans(
    source: str | Sequence[str], output_dir: str, task: str = "subcortical", overwrite: bool = False
) -> list[dict]:
    """List the scans of a run. Headers of those to segment are checked; their voxels are not read.

    Args:
        source: a file, a folder (searched with its subfolders), a pattern such as `data/*/anat/*_T1w.nii.gz` (`**`
            stands for any depth), or a list of those. Of a BIDS data set (a folder with a `dataset_description.json`,
            unless that of a derivative) only `sub-*/[ses-*/]anat/*_T1w.nii[.gz]` are taken. Of another folder that
            holds names ending in `_T1w`, only those; label maps and masks by their BIDS names (`_dseg`, `_mask`,
            `_probseg`) never.
        output_dir: folder of the results; the subfolders below `source` are repeated there.
        task: goes into the names of the results, `<name>_desc-<task>_dseg.nii.gz`.
        overwrite: also segment scans whose results are complete.

    Returns:
        One dictionary a scan: `image`, its path; `output`, path of its results without their endings (`RESULTS`);
        `finished`, only where there is nothing to do; and `problem`, only where the file cannot be processed, with the
        reason. In a run of several processes, all get what the first one found.

    Raises:
        InputError: nothing was found, or none of the scans can be processed.
    """
    scans: list[dict] = []
    first_of: dict[str, str] = {}
    for path, folder in _expand(source if isinstance(source, (list, tuple)) else [source]):
        output = str(Path(str(output_dir)).expanduser() / folder / f"{_stem(path)}_desc-{task}")
        scan: dict = {"image": str(path), "output": output}
        if first_of.setdefault(output, str(path)) != str(path):
            scan["problem"] = (
                f"{path}: its results would get the same name as those of {first_of[output]} ({output}*). Give the two "
                "runs different output folders."
            )
        elif not overwrite and is_finished(output):
            scan["finished"] = True
        else:
            try:
                check_header(path)
            except InputError as error:
                scan["problem"] = str(error)
        scans.append(scan)
    if finished := sum("finished" in scan for scan in scans):
        have = "1 scan has its" if finished == 1 else f"{finished} scans have their"
        logger.info("%s results in %s already (--overwrite True does them again).", have, output_dir)
    problems = [scan["problem"] for scan in scans if "problem" in scan]
    if problems and len(problems) == len(scans):
        raise InputError("\n".join(problems))
    return scans


def is_finished(output: str) -> bool:
    """Whether all results of a scan are there; each appears under its final name only when complete."""
    return all(Path(output + ending).is_file() for ending in RESULTS.values())


def _expand(sources: Sequence[str]) -> list[tuple[Path, Path]]:
    """Files and, for each, its folder relative to where the search began."""
    found: dict[Path, Path] = {}
    for source in sources:
        root = Path(str(source)).expanduser()  # Fire turns a name such as 0012 into a number
        if root.is_dir():
            bids = is_raw_dataset(root)
            files = t1_weighted_scans(root) if bids else _images_below(root)
            if not files and bids:
                raise InputError(
                    f"{root}: no T1-weighted scan in this BIDS data set; expected sub-*/[ses-*/]anat/*_T1w.nii[.gz]. "
                    'Other files are taken by a pattern, such as --input "FOLDER/**/*.nii.gz".'
                )
            if not files:
                raise InputError(
                    f"{root}: no image in this folder or its subfolders ({', '.join(IMAGE_SUFFIXES)}). DICOM has to be "
                    "converted first, for example with dcm2niix."
                )
        elif root.exists() or not glob.has_magic(str(root)):
            root, files = root.parent, [root]
        else:
            files = sorted(Path(name) for name in glob.glob(str(root), recursive=True))
            files = [file for file in files if _is_image(file)]
            if not files:
                raise InputError(
                    f"No image matches the pattern {source}. Check it with 'ls', and quote it in the shell."
                )
            root = fixed_part(root)
        for file in files:
            found.setdefault(file, file.parent.relative_to(root))
    return list(found.items())


def _images_below(root: Path) -> list[Path]:
    files = [path for path in files_below(root) if _is_image(path)]
    t1_weighted = [path for path in files if bare_name(path).endswith(BIDS_SUFFIX)]
    if t1_weighted and len(t1_weighted) < len(files):
        count = f"{len(t1_weighted)} of {len(files)}"
        logger.info("%s: %s images end in %s; the others are not taken.", root, count, BIDS_SUFFIX)
    return t1_weighted or files


def _is_image(path: Path) -> bool:
    return (
        path.name.lower().endswith(IMAGE_SUFFIXES)
        and not path.name.startswith(".")
        and not bare_name(path).endswith(DERIVATIVES)
        and (path.is_file() or path.is_symlink())  # a link that leads nowhere is reported, not passed over
    )


def fixed_part(pattern: Path) -> Path:
    """The folders of a pattern up to its first wildcard."""
    parts = []
    for part in pattern.parent.parts:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)


def bare_name(path: Path) -> str:
    """File name without the endings of image files."""
    name = path.name
    for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _stem(path: Path) -> str:
    """Name for the results: BIDS derivatives put another suffix in the place of `_T1w`."""
    return bare_name(path).removesuffix(BIDS_SUFFIX)
