"""Images read to their last byte: what is damaged, surplus or changing is refused, never passed on as an image."""

from __future__ import annotations

import math
import zlib
from contextlib import suppress
from pathlib import Path

import nibabel as nib

from monai_mamba.data.dicom import is_series, open_series
from monai_mamba.data.geometry import check_geometry
from monai_mamba.data.itk_image import META_SUFFIXES, NRRD_SUFFIXES, open_itk
from monai_mamba.data.unpacking import GZIP, check_length, first_line, unpack
from monai_mamba.errors import InputError
from monai_mamba.files import read_whole

COMPRESSED_SUFFIXES = (".nii.gz", ".mgz")
GOOD_RAS_FLAG = 28  # offset in an MGH file


def open_image(path: str | Path) -> nib.spatialimages.SpatialImage:
    """Read the header of an image, see `read_image`; its voxels, not verified, only when they are asked for.

    Raises:
        InputError: it is missing, or no image that can be used.
    """
    if is_series(path):
        return open_series(path)
    if _is_itk(path):
        return open_itk(path)
    try:
        image = nib.load(path)
        image.shape, image.get_data_dtype()  # nibabel looks at some of a header when it is asked only
    except Exception as error:  # nibabel passes on whatever its file readers raise
        raise InputError(f"{path}: not a readable NIfTI or MGH image ({first_line(error)}). {_advice(path)}") from error
    return image


def read_content(path: str | Path) -> bytes:
    """Read the content of an image: that of its file, or a NIfTI file made of an image of another format.

    Raises:
        InputError: see `read_image`.
    """
    return open_image(path).to_bytes() if is_series(path) or _is_itk(path) else read_whole(path)


def read_image(path: str | Path, checksum: str | None = None) -> nib.spatialimages.SpatialImage:
    """Read an image whole, its voxels in memory and verified: the checksum of every gzip stream, and the length.

    Args:
        path: NIfTI-1, NIfTI-2 or MGH file, plain or compressed; NRRD or MetaImage file; or a DICOM series, see
            `dicom`.
        checksum: `checksum` of the content that is expected; None expects nothing.

    Raises:
        InputError: the file is truncated, damaged, longer than its header promises, no image, contradicts itself (see
            `check_geometry`), changes while it is read, or has changed since `checksum` was taken.
    """
    content = read_content(path)
    if checksum is not None and checksum_of(content) != checksum:
        raise InputError(
            f"{path}: the file has changed since its voxels were read. Wait until nothing writes to it any more, and "
            "run again."
        )
    image = parse_image(path, content)
    check_geometry(path, image)
    return image


def checksum_of(content: bytes) -> str:
    """A short text that tells one content of a file from another."""
    return f"{zlib.crc32(content):08x}"


def parse_image(path: str | Path, content: bytes) -> nib.spatialimages.SpatialImage:
    """Make an image of what `read_content` returned, without a look at its geometry.

    Of an MGH file whose `goodRASFlag` is 0, the header keeps that, together with the orientation that is then assumed.
    """
    content = unpack(path, content) if content.startswith(GZIP) else content
    mgh = str(path).lower().endswith((".mgz", ".mgh"))
    try:
        if mgh:
            image = nib.MGHImage.from_bytes(content)
            # nibabel sets the flag where it assumes an orientation.
            image.header["goodRASFlag"] = int.from_bytes(content[GOOD_RAS_FLAG : GOOD_RAS_FLAG + 2], "big", signed=True)
        else:
            kind = nib.Nifti2Image if nib.Nifti2Header.may_contain_header(content) else nib.Nifti1Image
            image = kind.from_bytes(content)
    except Exception as error:  # nibabel passes on whatever goes wrong inside
        raise InputError(f"{path}: not a readable NIfTI or MGH image ({first_line(error)}).") from error
    check_length(path, len(content), expected_length(image), may_be_longer=mgh)  # by a footer
    return image


def expected_length(image: nib.spatialimages.SpatialImage) -> int:
    """Bytes up to the last voxel of a file, uncompressed, by its header."""
    return int(image.dataobj.offset) + math.prod(map(int, image.shape)) * image.get_data_dtype().itemsize


def stored_scale(image: nib.spatialimages.SpatialImage) -> float:
    """What one step of the stored integers is worth (`scl_slope`), NaN where they are not scaled."""
    slope = abs(float(getattr(image.dataobj, "slope", 1)))
    return math.nan if slope == 1 else slope


def _advice(path: str | Path) -> str:
    """What to do about a file that cannot be read: its ending may belie its content."""
    compressed = named_so = str(path).lower().endswith(COMPRESSED_SUFFIXES)
    with suppress(OSError):
        if Path(path).is_file():  # a pipe may never give a byte
            with open(path, "rb") as file:
                compressed = file.read(2) == GZIP
    if compressed and not named_so:
        return "The file is compressed: give it a name that ends in .nii.gz (NIfTI) or .mgz (MGH)."
    if named_so and not compressed:
        return "The file is not compressed: if it is an image, give it a name that ends in .nii (NIfTI) or .mgh (MGH)."
    return "Check that the file is what its name says and was copied completely."


def _is_itk(path: str | Path) -> bool:
    return str(path).lower().endswith(NRRD_SUFFIXES + META_SUFFIXES)
