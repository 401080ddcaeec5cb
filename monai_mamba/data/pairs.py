"""Images and their reference label maps: how they are found in a folder, checked, and split into two sets."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from monai_mamba.data.content import find_copies
from monai_mamba.data.image_file import open_image
from monai_mamba.data.image_header import IMAGE_SUFFIXES, check_header
from monai_mamba.data.scans import bare_name, is_image
from monai_mamba.errors import InputError
from monai_mamba.files import files_below, user_path
from monai_mamba.grids import largest_shift

IMAGE_ENDING, LABEL_ENDING = "_T1w", "_desc-aseg_dseg"
LARGEST_SHIFT = 0.05  # mm by which a voxel of a label map may lie elsewhere than that of its image

RULE = (
    f"Expected in one folder, or in its subfolders, NAME{IMAGE_ENDING}.nii.gz beside NAME{LABEL_ENDING}.nii.gz; or the "
    f"folders imagesTr and labelsTr with a file of the same name in both ({', '.join(IMAGE_SUFFIXES)})."
)

logger = logging.getLogger(__name__)


def find_pairs(dataset_dir: str | Path) -> list[dict[str, str]]:
    """List the pairs of image and label map below a folder. Only headers are read.

    Two layouts are known: BIDS-like names (`sub-01_T1w.nii.gz` and `sub-01_desc-aseg_dseg.nii.gz` side by side, in any
    subfolder), and, where there is a folder `imagesTr`, that of the Medical Segmentation Decathlon (`imagesTr/NAME` and
    `labelsTr/NAME`; nnU-Net's channel number `_0000` after the image's name is allowed).

    Returns:
        Dictionaries with `image` and `label` (paths) and `subject` (a unique name), in the order of the subjects.

    Raises:
        InputError: no such folder, no pair in it, an image or label map without its partner, an unreadable file, or a
            pair that does not share one grid.
    """
    root = user_path(dataset_dir)
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder. Set dataset_dir to the folder with images and label maps.")
    if (root / "imagesTr").is_dir():
        images = {re.sub(r"_0000$", "", stem): path for stem, path in _stems(root / "imagesTr").items()}
        labels = _stems(root / "labelsTr")
    else:
        files = _stems(root)
        images = {stem[: -len(IMAGE_ENDING)]: path for stem, path in files.items() if stem.endswith(IMAGE_ENDING)}
        labels = {stem[: -len(LABEL_ENDING)]: path for stem, path in files.items() if stem.endswith(LABEL_ENDING)}
    if not images and not labels:
        raise InputError(f"{root}: no image and no label map found. {RULE}")
    for alone, missing in ((images, labels), (labels, images)):
        without = sorted(set(alone) - set(missing))
        if without:
            kind, partner = ("image", "label map") if alone is images else ("label map", "image")
            raise InputError(
                f"{alone[without[0]]}: this {kind} has no {partner} ({len(without)} of {len(alone)} {kind}s lack one). "
                f"{RULE}"
            )
    pairs = [{"image": str(images[name]), "label": str(labels[name]), "subject": name} for name in sorted(images)]
    for pair in pairs:
        check_header(pair["image"])
        check_header(pair["label"])
        check_same_grid(pair["image"], pair["label"])
    copies = warn_of_copies(pair["image"] for pair in pairs)
    for path, other in find_copies(pair["label"] for pair in pairs if pair["image"] not in copies).items():
        text = "%s is the same file as %s: one is of another scan, or both scans are of one person. Do not divide them."
        logger.warning(text, path, other)
    return pairs


def warn_of_copies(images: Iterable[str]) -> dict[str, str]:
    """Warn where the image of a case is the file of another one, and return both, see `find_copies`."""
    copies = find_copies(images)
    for path, other in copies.items():
        text = "%s is the same file as %s. Keep one of the two: scores on a scan that was trained on are too good."
        logger.warning(text, path, other)
    return copies


def split_pairs(
    pairs: Sequence[dict[str, str]], val_fraction: float
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Divide pairs into a training and a validation set so that no person is in both.

    A person is the entry `person`, or the `sub-...` part of the subject's name, or the whole name where there is none.
    The order that decides comes from a hash of the person's name, hence does not depend on the machine or on the order
    of the files. With one person only, both sets are that person, with a warning: good for a trial, useless as
    validation.

    Args:
        pairs: what `find_pairs` returned.
        val_fraction: part of the persons to validate on, 0 to below 1; at least one person is taken, with 0 none.

    Raises:
        InputError: the fraction is out of range.
    """
    if not 0 <= val_fraction < 1:
        raise InputError(f"val_fraction is {val_fraction}, expected a number from 0 to below 1, such as 0.2.")
    if val_fraction == 0 or not pairs:
        return list(pairs), []
    persons = sorted({_person(pair) for pair in pairs}, key=lambda name: hashlib.sha256(os.fsencode(name)).hexdigest())
    if len(persons) == 1:
        warnings.warn(
            f"All pairs belong to one person ({persons[0]}): validation uses the training data. Add scans of "
            "other people.",
            stacklevel=2,
        )
        return list(pairs), list(pairs)
    held_out = set(persons[: min(max(1, round(val_fraction * len(persons))), len(persons) - 1)])
    return (
        [pair for pair in pairs if _person(pair) not in held_out],
        [pair for pair in pairs if _person(pair) in held_out],
    )


def _person(pair: dict[str, str]) -> str:
    match = re.search(r"sub-[A-Za-z0-9]+", pair["subject"])
    return pair.get("person") or (match.group() if match else pair["subject"])


def _stems(folder: Path) -> dict[str, Path]:
    """Image files below a folder by their path relative to it, without the suffix, in forward slashes."""
    stems: dict[str, Path] = {}
    for path in filter(is_image, files_below(folder)):
        stem = path.relative_to(folder).with_name(bare_name(path)).as_posix()
        if stem in stems:
            raise InputError(f"{path}: {stems[stem].name} has the same name with another suffix. Keep one of the two.")
        stems[stem] = path
    return stems


def same_grid(shape: Sequence[int], affine: np.ndarray, other: Sequence[int], other_affine: np.ndarray) -> bool:
    """Whether two grids, of shapes `(H, W, D)` and affines `(4, 4)`, hold the same voxels, but for rounding."""
    return tuple(shape) == tuple(other) and largest_shift(affine, other_affine, shape) <= LARGEST_SHIFT


def check_same_grid(image: str, label: str) -> None:
    """Refuse a label map that does not lie on the grid of its image. Only headers are read.

    Raises:
        InputError: a file cannot be read, or shapes or affines differ.
    """
    one, other = open_image(image), open_image(label)
    if one.shape[:3] != other.shape[:3]:
        raise InputError(
            f"{label}: its grid is {other.shape[:3]} voxels, but that of {image} is {one.shape[:3]}. Resample "
            "it to that grid with nearest neighbor."
        )
    shift = largest_shift(one.affine, other.affine, one.shape[:3])
    if not shift <= LARGEST_SHIFT:
        raise InputError(
            f"{label}: it has the shape of {image} but another position (voxels differ by up to {shift:.3g} mm). "
            "Resample it to that grid with nearest neighbor, or correct its header."
        )


def image_on_grid(images: Sequence[str], label: str) -> str:
    """The first of some images whose grid a label map has; errors as in `check_same_grid`."""
    for image in images[:-1]:
        with suppress(InputError):
            check_same_grid(image, label)
            return image
    check_same_grid(images[-1], label)
    return images[-1]
