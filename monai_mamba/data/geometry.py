"""What a header says about where its voxels lie, and what is done where it contradicts itself.

The rule: the sform is used where its code is set, else the qform. What else the header says (the other one of the two,
the voxel sizes in `pixdim`, in an MGH file those in `delta`) must agree. Small differences are warned of; where a wrong
choice would change volumes or exchange sides, the file is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes

from monai_mamba.errors import InputError
from monai_mamba.grids import largest_shift

NOTED_SIZE, LARGEST_SIZE = 0.005, 0.03  # relative differences of voxel sizes that are warned of, and refused
NOTED_SHIFT = 1.0  # mm
OTHER_UNITS = {1: "meters", 3: "micrometers"}  # of NIfTI; 2 is mm, 0 is not known
FARTHEST = 1e5  # mm; further away, float32 does not tell 0.01 mm apart
LARGEST_TURN = 45.0  # degrees; from here on, an axis of the one is nearest to another axis of the other

ADVICE = "Find out from the original data which is right, and write it into the header in both places."


def check_affine(name: str | Path, affine: np.ndarray) -> None:
    """Refuse an affine `(4, 4)`, voxel index to millimeters, of a file `name` that does not place voxels in space.

    Raises:
        InputError: an element is not finite or above 100 m, or the matrix is singular.
    """
    affine = np.asarray(affine, dtype=float)
    spacing = voxel_sizes(affine)
    # Relative to the voxel size, so that small voxels are not mistaken for a singular matrix.
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) <= 1e-3 * np.prod(spacing):
        raise InputError(
            f"{name}: the affine in the header, {affine[:3].round(4).tolist()}, is singular or not finite, so left "
            "and right and the voxel size are unknown. Repair the header from the original data, for example by "
            "converting the scan again."
        )
    if np.abs(affine).max() > FARTHEST:
        raise InputError(
            f"{name}: the affine in the header, {affine[:3].round(4).tolist()}, places voxels up to "
            f"{np.abs(affine).max():.3g} mm away; expected less than {FARTHEST:g}. Repair the header from the original "
            "data."
        )


def check_geometry(name: str | Path, image: nib.spatialimages.SpatialImage) -> str:
    """Compare all that the header of a NIfTI or MGH image says about sizes, axes and origin of its voxels.

    Its `affine` is the one that is used; `name` is for messages.

    Returns:
        A warning that names what contradicts itself and what is used; empty where all agrees.

    Raises:
        InputError: see `check_affine`; or voxel sizes are 0, or the sign of a qform is none; or voxel sizes differ by
            more than 3 %, or sform and qform are mirror images, or turned against each other by more than 45 degrees.
    """
    affine = np.asarray(image.affine, dtype=float)
    check_affine(name, affine)
    if not isinstance(image, nib.Nifti1Image):  # NIfTI-2 included
        sizes = image.header["delta"]
        if min(sizes) < 0:
            raise InputError(
                f"{name}: voxels of {_text(sizes)} mm by the header; expected sizes above 0, because a mirrored axis "
                f"may exchange left and right. {ADVICE}"
            )
        return _compare_sizes(name, affine, "the matrix", sizes, "the voxel sizes")
    warnings = []
    if unit := OTHER_UNITS.get(int(image.header["xyzt_units"]) & 7):
        warnings.append(f"{name}: the header gives lengths in {unit}, in which no head has this size; read as mm.")
    fields = _stored_fields(image)
    if not int(image.header["sform_code"]):  # positions are those of pixdim, with the qform or assumed axes
        warnings.append(_check_stored(name, fields, bool(int(image.header["qform_code"]))))
    else:
        has_qform = bool(int(image.header["qform_code"]))
        other = "qform and pixdim" if has_qform else "pixdim"
        warnings.append(_compare_sizes(name, affine, "the sform", fields[1:4], other))
        warnings += [_compare_qform(name, image)] if has_qform else []
    return " ".join(filter(None, warnings))


def _compare_sizes(name: str | Path, affine: np.ndarray, used: str, sizes: Sequence[float], other: str) -> str:
    sizes, expected = np.abs(np.asarray(sizes, dtype=float)), voxel_sizes(affine)
    if not (np.isfinite(sizes).all() and sizes.all()):
        return ""  # not given
    difference = np.max(np.abs(sizes / expected - 1))
    if difference <= NOTED_SIZE:
        return ""
    found = f"voxels of {_text(expected)} mm by {used} of the header and of {_text(sizes)} mm by {other}"
    if difference > LARGEST_SIZE:
        raise InputError(
            f"{name}: {found}; expected sizes that agree within {LARGEST_SIZE:.0%}, because all volumes depend on "
            f"them. {ADVICE}"
        )
    return f"{name}: {found}; {used} is used. {ADVICE}"


def _stored_fields(image: nib.Nifti1Image) -> np.ndarray:
    """`pixdim` as it is stored; nibabel replaces what cannot be: sizes of 0 by 1, other signs than 1 and -1 by 1."""
    file = image.file_map["image"]
    if file.filename is None and file.fileobj is None:  # an image made in memory
        return image.header["pixdim"]
    with file.get_prepare_fileobj("rb") as stream:
        return type(image.header).from_fileobj(stream, check=False)["pixdim"]


def _check_stored(name: str | Path, fields: np.ndarray, has_qform: bool) -> str:
    """Check the `pixdim` of a header whose voxels lie where it says."""
    sign, sizes = float(fields[0]), fields[1:4]
    if not sizes.all():
        raise InputError(
            f"{name}: voxels of {_text(sizes)} mm by pixdim of the header, and it has no sform; expected sizes above "
            "0, because all volumes depend on them. Convert the scan again from the original data."
        )
    if has_qform and sign not in (-1, 0, 1):
        raise InputError(
            f"{name}: pixdim[0] of the header is {sign:g}; expected 1 or -1, which tells left from right. Convert the "
            "scan again from the original data."
        )
    negative = f"{name}: voxels of {_text(sizes)} mm by pixdim of the header; read as sizes above 0. {ADVICE}"
    return negative if sizes.min() < 0 else ""


def _compare_qform(name: str | Path, image: nib.Nifti1Image) -> str:
    try:
        qform = image.get_qform()
    except (ValueError, nib.spatialimages.HeaderDataError):
        qform = np.full((4, 4), np.nan)
    if not np.isfinite(qform).all():
        return f"{name}: the qform of the header is not a rotation; the sform is used. {ADVICE}"
    affine = np.asarray(image.affine, dtype=float)
    relative = np.linalg.solve(_directions(affine), _directions(qform))
    if np.linalg.det(relative) < 0:
        raise InputError(
            f"{name}: sform and qform of the header disagree about left and right; one is the mirror image of the "
            f"other. {ADVICE}"
        )
    turn = np.degrees(np.arccos(np.clip((np.trace(relative) - 1) / 2, -1, 1)))
    if turn > LARGEST_TURN:
        raise InputError(
            f"{name}: sform and qform of the header are turned against each other by {turn:.0f} degrees, so the axes "
            f"of the head are exchanged in one of them; expected at most {LARGEST_TURN:.0f}. {ADVICE}"
        )
    shift = largest_shift(affine, qform, image.shape[:3])
    if shift <= NOTED_SHIFT:
        return ""
    return (
        f"{name}: sform and qform of the header place the voxels differently, by up to {shift:.3g} mm and "
        f"{turn:.2g} degrees; the sform is used. If its space is not that of the head, positions are those of another."
    )


def _directions(affine: np.ndarray) -> np.ndarray:
    """The axes of the voxels without their sizes and shears, `(3, 3)`: the nearest rotation, or mirrored rotation."""
    left, _, right = np.linalg.svd(affine[:3, :3] / voxel_sizes(affine))
    return left @ right


def _text(sizes: Sequence[float]) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)
