"""What the header and the size of an image file already tell: checks before anything heavy is loaded."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes

from monai_mamba.data.dicom import is_series
from monai_mamba.data.geometry import check_geometry
from monai_mamba.data.image_file import COMPRESSED_SUFFIXES, expected_length, open_image, read_image
from monai_mamba.data.itk_image import META_SUFFIXES, NRRD_SUFFIXES, LazyVoxels
from monai_mamba.data.unpacking import GZIP, POINTER_BYTES, POINTER_FOUND, POINTERS
from monai_mamba.errors import InputError

IMAGE_SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh", *NRRD_SUFFIXES, *META_SUFFIXES)
PACKED_SUFFIXES = (
    ".dcm.gz",
    ".ima.gz",
    ".mgh.gz",
    ".nrrd.gz",
    ".bz2",
    ".xz",
    ".zst",
    ".zip",
    ".7z",
    ".tar",
    ".tar.gz",
    ".tgz",
)
MAX_VOXELS = 1024**3
MIN_VOXELS_PER_AXIS = 8
MIN_EXTENT_MM, MAX_EXTENT_MM = 5.0, 600.0


def check_header(path: str | Path, volumes: int = 1) -> None:
    """Refuse a file that cannot be processed, from its header and size alone; `read_image` verifies the rest.

    Args:
        path: see `read_image`.
        volumes: number of volumes that the file must hold; more than one lie along the fourth axis.

    Raises:
        InputError: the file is missing, empty, too short or too long, no image, not real-valued, has another number
            of volumes, or places its voxels nowhere or at two places (see `check_geometry`).
    """
    path = Path(path)
    if not is_series(path):
        _check_file(path)
    image = open_image(path)
    shape, dtype = tuple(int(size) for size in image.shape), image.get_data_dtype()
    if dtype.fields is not None or np.issubdtype(dtype, np.complexfloating):
        raise InputError(f"{path}: voxels are of type {dtype}; expected one real number per voxel.")
    check_shape(path, shape, volumes)
    check_geometry(path, image)
    check_extent(path, shape, image.affine)
    if not isinstance(image.dataobj, LazyVoxels) and not _has_promised_length(path, image):
        read_image(path)  # says what is wrong; several gzip streams one after the other are not


def _check_file(path: Path) -> None:
    """Refuse what is no file of a known ending, or empty."""
    if path.is_symlink() and not path.exists():
        raise InputError(
            f"{path}: a link to {os.readlink(path)}, which does not exist. Fetch the file first (in a DataLad dataset: "
            "datalad get)."
        )
    if not path.is_file():
        raise InputError(f"{path}: there is no such file. Check the path.")
    if path.name.lower().endswith((".hdr", ".img")):
        raise InputError(
            f"{path}: Analyze files do not say which side is left, and pairs of files are not read. Convert the scan "
            "to NIfTI (.nii.gz) from the original data, for example with dcm2niix."
        )
    if path.name.lower().endswith(PACKED_SUFFIXES):
        raise InputError(
            f"{path}: a compressed file that is not read as it is ({', '.join(COMPRESSED_SUFFIXES)} are). Unpack it "
            "first, and give the file or DICOM folder that was in it."
        )
    if not path.name.lower().endswith(IMAGE_SUFFIXES):
        raise InputError(
            f"{path}: the name does not end in one of {', '.join(IMAGE_SUFFIXES)}. Convert the scan to NIfTI first, "
            "for example with dcm2niix."
        )
    try:
        with path.open("rb") as file:
            start = file.read(POINTER_BYTES)
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error.strerror}). Check that you may read it.") from error
    if not start:
        raise InputError(f"{path}: the file is empty (0 bytes). Copy it again from its source.")
    if start.startswith(POINTERS):
        raise InputError(f"{path}: {POINTER_FOUND}")


def check_shape(name: str | Path, shape: Sequence[int], volumes: int = 1) -> None:
    """Refuse a shape that is not so many volumes; after the three axes of a single one, axes of length 1 are tolerated.

    Raises:
        InputError: the image is a series, a single slice, or has an absurd number of voxels.
    """
    text = " x ".join(str(size) for size in shape)
    if volumes > 1 and (len(shape) != 4 or shape[3] != volumes):
        raise InputError(f"{name}: {text} voxels; expected {volumes} volumes along a fourth axis.")
    if volumes == 1 and any(size > 1 for size in shape[3:]):
        advice = "Save the volume to segment as a separate file"
        advice += f", without the axis of length {shape[0]}." if shape[0] < MIN_VOXELS_PER_AXIS else "."
        raise InputError(
            f"{name}: a series of {math.prod(shape[3:])} volumes ({text}); expected one 3-D volume. {advice}"
        )
    if len(shape) < 3 or min(shape[:3]) < MIN_VOXELS_PER_AXIS:
        raise InputError(
            f"{name}: a 2-D image or a thin slab ({text}); expected a 3-D volume with at least {MIN_VOXELS_PER_AXIS} "
            "voxels along each axis."
        )
    if math.prod(shape) > MAX_VOXELS:
        raise InputError(f"{name}: {text} voxels are more than {MAX_VOXELS}. Resample the scan to about 1 mm first.")


def check_extent(name: str | Path, shape: Sequence[int], affine: np.ndarray) -> None:
    """Refuse a field of view that no head scan has: the voxel size in the header is wrong, or it is a whole body.

    The image `(H, W, D, ...)` has the affine `(4, 4)`, voxel index to millimeters.

    Raises:
        InputError: the field of view is smaller than 5 mm or larger than 600 mm along an axis.
    """
    extent = voxel_sizes(np.asarray(affine, dtype=float)) * np.asarray(shape[:3])
    if extent.min() < MIN_EXTENT_MM or extent.max() > MAX_EXTENT_MM:
        text = " x ".join(f"{size:.4g}" for size in extent)
        raise InputError(
            f"{name}: the field of view is {text} mm; a head needs {MIN_EXTENT_MM:g} to {MAX_EXTENT_MM:g} mm along "
            "each axis. Correct the voxel size in the header, or crop the image to the head."
        )


def _has_promised_length(path: Path, image: nib.spatialimages.SpatialImage) -> bool:
    """Whether the length of a file fits its header; that of a gzip file is taken from its last bytes, unverified."""
    expected, found = expected_length(image), path.stat().st_size
    with path.open("rb") as file:
        if file.read(2) == GZIP:
            file.seek(-4, os.SEEK_END)
            expected, found = expected % 2**32, int.from_bytes(file.read(4), "little")
    return found == expected or (found > expected and isinstance(image, nib.MGHImage))
