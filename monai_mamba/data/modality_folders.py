"""Cases whose files lie in a folder for each modality: `FLAIR/case1.nii.gz` beside `T1/case1.nii.gz`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from monai_mamba.data.modalities import LABEL_SUFFIXES, MODALITY_OF_ALIAS, recognize
from monai_mamba.data.scans import bare_name
from monai_mamba.errors import InputError


def in_modality_folders(files: Iterable[Path], root: Path) -> dict[Path, tuple[Path, str, str]]:
    """Find the images that lie in folders named as modalities, two of them at least side by side.

    A folder whose files tell other modalities by their own names, such as that of a time point `t1`, is none.

    Returns:
        For each such file: where its case lies, relative to `root`, in which the search began; the name of the case,
        which is that of the file without its modality, or that of the folder of the case; and the modality, or
        `"label"`.

    Raises:
        InputError: no file of one folder has the name of a file in another.
    """
    content: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        content[path.parent].append(path)
    groups: dict[Path, dict[Path, str]] = defaultdict(dict)
    for folder, paths in content.items():
        prefix, kind = recognize(folder)
        if folder != root and kind and {recognize(path)[1] for path in paths} <= {None, kind}:
            # `T1` and `T2` belong together, and so do `images_t1` and `images_t2`.
            groups[folder.parent if _is_modality(folder) else folder.with_name(prefix)][folder] = kind
    places = {}
    for case, kinds in groups.items():
        if len(set(kinds.values())) < 2:
            continue
        names = {path: "" if _is_modality(path) else recognize(path)[0] for folder in kinds for path in content[folder]}
        common = len(set(names.values())) < len(names)
        if not common and (case == root or any(len(content[folder]) > 1 for folder in kinds)):
            raise InputError(
                f"{', '.join(map(str, sorted(kinds)))}: folders of modalities, but no file of one has the name of a "
                "file in another, so cases are not known. Give the files of a case one name."
            )
        for path, name in names.items():
            own = name if common and name else (case.name or case.resolve().name)
            places[path] = (case.relative_to(root), own, kinds[path.parent])
    return places


def _is_modality(path: Path) -> bool:
    """Whether the whole name is that of a modality, such as `FLAIR` or `flair.nii.gz`."""
    return bare_name(path).lower() in {*MODALITY_OF_ALIAS, *LABEL_SUFFIXES}
