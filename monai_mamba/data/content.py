"""What image files hold, by their headers and some voxels: labels or a scan, and of which scan."""

from __future__ import annotations

import filecmp
import os
import re
from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np

from monai_mamba.data.image_file import checksum_of, open_image, read_content, stored_scale
from monai_mamba.data.label_values import count_neighbors, largest_rounding
from monai_mamba.errors import InputError
from monai_mamba.grids import largest_shift
from monai_mamba.version import __version__

LARGEST_SHIFT = 1.0  # mm
SLICES = 5
SAMPLE = 4096  # bytes
WITHOUT_VOXELS = (".nhdr", ".mhd")
SAME_NEIGHBORS = 0.6  # in the label maps looked at, 0.85 to 1; in scans, 0.01 to 0.3


def other_than_scan(path: str | Path) -> str | None:
    """Say that a file is a label map, or values on a surface; None for a scan, or where it cannot be read.

    A label map has whole numbers, but for rounding, around a background of 0, and most voxels have neighbors of their
    own value. Only some slices in the middle are read, or all if there is nothing in them.
    """
    try:
        image = open_image(path)
        shape = image.shape
        if isinstance(image, nib.Cifti2Image) or (len(shape) >= 3 and max(shape[:3]) > sorted(shape[:3])[1] == 1):
            return "values on a surface by its shape"
        is_complex = np.issubdtype(image.get_data_dtype(), np.complexfloating)
        if len(shape) < 3 or 0 in shape or any(size > 1 for size in shape[3:]) or is_complex:
            return None
        middle = shape[2] // 2
        voxels = np.asarray(image.dataobj[:, :, max(middle - SLICES // 2, 0) : middle + SLICES - SLICES // 2])
        if not voxels.any():
            voxels = np.asarray(image.dataobj)
    except Exception:  # nibabel passes on whatever its file readers raise
        return None
    are_labels = _are_labels(voxels.reshape(*shape[:2], -1), stored_scale(image))
    return "label map by its voxels" if are_labels else None


def describe_sources(checksums: str, settings: str | None = None) -> str:
    """What the header of a result says of the files that it was made from, by their checksums (see `checksum_of`).

    And of the settings it was made with, by a short text of letters and digits.
    """
    return f"monai-mamba {__version__}, made from {checksums}{f' with {settings}' if settings else ''}"


def sources_of(label: str | Path) -> set[str]:
    """Checksums of the files that a label map was made from; none where it does not say so, or cannot be read."""
    match = _description(label)
    return set(match[1].split()) if match else set()


def check_sources(label: str | Path, image: str | Path, advice: str) -> None:
    """Refuse a label map that says that it was made from other files than an image, with what to do about it.

    Raises:
        InputError: it does, or the image cannot be read.
    """
    if (known := sources_of(label)) and checksum_of(read_content(image)) not in known:
        raise InputError(
            f"{label}: it was made from another file than {image}, or from this one before it changed. {advice}"
        )


def settings_of(label: str | Path) -> str | None:
    """The settings that a label map was made with; None where it does not say so, or cannot be read."""
    match = _description(label)
    return match[2] if match else None


def _description(label: str | Path) -> re.Match | None:
    """What `describe_sources` wrote."""
    try:
        text = open_image(label).header["descrip"].item().decode()
    except (KeyError, ValueError):  # it cannot be read, or has no such field
        return None
    return re.fullmatch(r"monai-mamba \S+, made from ([0-9a-f ]+?)(?: with (\w+))?", text)


def may_be_labels_of(label: str | Path, images: Iterable[str | Path]) -> bool:
    """Whether a label map was made from all of some images.

    One that does not say so may lie on the grid of one of them, within 1 mm; also where a file cannot be read.

    Raises:
        InputError: it says so, and an image cannot be read.
    """
    images = list(images)
    if sources := sources_of(label):
        return sources == {checksum_of(read_content(image)) for image in images}
    try:
        found = open_image(label)
        candidates = [open_image(image) for image in images]
    except InputError:
        return True
    return any(
        found.shape[:3] == image.shape[:3]
        and largest_shift(found.affine, image.affine, image.shape[:3]) <= LARGEST_SHIFT
        for image in candidates
    )


def find_copies(paths: Iterable[str]) -> dict[str, str]:
    """Files with the same bytes as one before them, and that one; DICOM series and bare headers are not compared."""
    copies: dict[str, str] = {}
    alike: dict[tuple[int, bytes], list[str]] = {}
    for path in paths:
        if path.lower().endswith(WITHOUT_VOXELS):
            continue
        try:
            with open(path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(size // 2)
                others = alike.setdefault((size, file.read(SAMPLE)), [])
            same = next((other for other in others if filecmp.cmp(path, other, shallow=False)), None)
        except OSError:  # a DICOM series has no file of this name
            continue
        if same is None:
            others.append(path)
        else:
            copies[path] = same
    return copies


def _are_labels(values: np.ndarray, scale: float) -> bool:
    with np.errstate(invalid="ignore"):  # of NaN and infinity, which are no labels
        voxels = np.rint(values)
        is_whole = np.max(np.abs(values - voxels)) <= largest_rounding(values, min(scale, 1.0))
    inside = voxels != 0
    if not is_whole or inside.mean() > 0.95 or not inside.any():
        return False
    same, pairs = count_neighbors(voxels, range(3))
    return same >= SAME_NEIGHBORS * max(pairs, 1)
