"""The four modalities of a brain tumor case: their order, and the names that files give them."""

from __future__ import annotations

import re
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
