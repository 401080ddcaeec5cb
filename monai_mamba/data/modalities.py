"""The four modalities of a brain tumor case: their order, and the names that files and folders give them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

from monai_mamba.data.scans import bare_name
from monai_mamba.errors import InputError

MODALITIES = ("flair", "t1", "t1ce", "t2")  # order of the channels, as in Task01 of the Decathlon
REFERENCE_ORDER = ("flair", "t1ce", "t2", "t1")  # the picture shows the reference: the tumor is best seen in this order
DISPLAY = {"flair": "FLAIR", "t1": "T1", "t1ce": "T1ce", "t2": "T2"}
ALIASES = {
    "flair": ("flair", "t2f", "t2flair"),
    "t1": ("t1", "t1n", "t1w"),
    "t1ce": ("t1ce", "t1c", "t1gd", "t1wce"),
    "t2": ("t2", "t2w"),
}
LABEL_SUFFIXES = ("seg", "dseg")
MODALITY_OF_ALIAS = {alias: name for name, aliases in ALIASES.items() for alias in aliases}
NAMES_KNOWN = (
    "Names end in _flair, _t1, _t1ce, _t2 (BraTS up to 2021), -t2f, -t1n, -t1c, -t2w (from 2023), or _FLAIR, _T1w, "
    "_ce-gadolinium_T1w, _T2w (BIDS)."
)


def recognize(path: str | Path) -> tuple[str, str | None]:
    """Tell case and modality from the name of an image file (BraTS 2018-2024 or BIDS, see `NAMES_KNOWN`).

    In BIDS names, which begin with `sub-`, the entities `sub`, `ses` and `run` make the case, and an entity `ce` makes
    a T1w a T1ce.

    Returns:
        Name of the case, and one of `MODALITIES`, or `"label"` (`_seg`, `-seg`, `_dseg`), or None for any other name.
    """
    name = bare_name(Path(path))
    match = re.fullmatch(r"(.+)[_-]([A-Za-z0-9]+)", name)
    suffix = match.group(2).lower() if match else name.lower()
    kind = "label" if suffix in LABEL_SUFFIXES else MODALITY_OF_ALIAS.get(suffix)
    if kind is None:
        return name, None
    case = match.group(1) if match else Path(path).resolve().parent.name
    if case.startswith("sub-"):
        entities = dict(part.split("-", 1) for part in case.split("_") if "-" in part)
        if kind == "t1" and "ce" in entities:
            kind = "t1ce"
        case = "_".join(f"{key}-{entities[key]}" for key in ("sub", "ses", "run") if key in entities)
    return case, kind


def channel_order(names: Iterable[str], source: str | Path) -> tuple[str, ...]:
    """Modalities of channels named `FLAIR`, `T1w`, `t1gd`, `T2w`, or as in `ALIASES`; `source` is for the message.

    Raises:
        InputError: a name is not known, or two name the same modality.
    """
    names = [str(name) for name in names]
    order = tuple(MODALITY_OF_ALIAS.get(re.sub(r"[^a-z0-9]", "", name.lower())) for name in names)
    if None in order or len(set(order)) != len(order):
        known = "; ".join(f"{DISPLAY[name]}: {', '.join(aliases)}" for name, aliases in ALIASES.items())
        raise InputError(f"{source}: its channels are {', '.join(names)}; expected one name of each of {known}.")
    return order


def modality_subsets() -> list[tuple[str, ...]]:
    """The 15 non-empty subsets of the four modalities, larger ones first, each in channel order."""
    return [subset for size in range(len(MODALITIES), 0, -1) for subset in combinations(MODALITIES, size)]


def subset_name(modalities: Iterable[str]) -> str:
    """A subset in words, such as `FLAIR+T2`, in channel order."""
    chosen = set(modalities)
    return "+".join(DISPLAY[name] for name in MODALITIES if name in chosen)


def with_subsets(cases: Sequence[dict], subsets: Sequence[Sequence[str]]) -> list[dict]:
    """Each case once for each subset of modalities that it has all of, with the entry `modalities` (see `subset_name`).

    Raises:
        InputError: a subset is empty or names a modality that is none.
    """
    for subset in subsets:
        if isinstance(subset, str) or not subset or not set(subset) <= set(MODALITIES):
            raise InputError(
                f"--subsets has {subset!r}, expected lists of {', '.join(MODALITIES)}, such as \"[['flair','t2']]\"."
            )
    return [
        {**case, "modalities": subset_name(subset)}
        for subset in subsets
        for case in cases
        if set(subset) <= set(case["present"].split("+"))
    ]


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
