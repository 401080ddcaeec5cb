"""Images read to their last byte: what is damaged, surplus or changing is refused, never passed on as an image."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import nibabel as nib

from monai_mamba.data.geometry import check_geometry
from monai_mamba.errors import InputError
from monai_mamba.files import read_whole

GZIP = b"\x1f\x8b"  # how such files begin
GOOD_RAS_FLAG = 28  # offset in an MGH file


def read_image(path: str | Path, checksum: str | None = None) -> nib.spatialimages.SpatialImage:
    """Read an image whole, its voxels in memory and verified: the checksum of every gzip stream, and the length.

    Args:
        path: NIfTI-1, NIfTI-2 or MGH file, plain or compressed.
        checksum: `checksum` of the content that is expected; None expects nothing.

    Raises:
        InputError: the file is truncated, damaged, longer than its header promises, no image, contradicts itself (see
            `check_geometry`), changes while it is read, or has changed since `checksum` was taken.
    """
    content = read_whole(path)
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
    """Make an image of the content of its file, as `read_image` does, without a look at its geometry.

    Of an MGH file whose `goodRASFlag` is 0, the header keeps that, together with the orientation that is then assumed.
    """
    content = _unpack(path, content)
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
    found, expected = len(content), expected_length(image)
    if found < expected:
        raise InputError(
            f"{path}: the file is truncated or damaged: {found} bytes where its header promises {expected}. Copy it "
            "again from its source."
        )
    if found > expected and not mgh:  # an MGH file may end in a footer
        raise InputError(
            f"{path}: the file is damaged or its header is wrong: {found} bytes where its header promises {expected}. "
            "Copy it again from its source, or convert the scan again."
        )
    return image


def expected_length(image: nib.spatialimages.SpatialImage) -> int:
    """Bytes up to the last voxel of a file, uncompressed, by its header."""
    return int(image.dataobj.offset) + math.prod(map(int, image.shape)) * image.get_data_dtype().itemsize


def stored_scale(image: nib.spatialimages.SpatialImage) -> float:
    """What one step of the stored integers is worth (`scl_slope`), NaN where they are not scaled."""
    slope = abs(float(image.dataobj.slope))
    return math.nan if slope == 1 else slope


def first_line(error: Exception) -> str:
    """The first line of a message, or what kind of error it is."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _unpack(path: str | Path, content: bytes) -> bytes:
    """The content without its compression; a file may hold several gzip streams one after the other."""
    if not content.startswith(GZIP):
        return content
    parts = []
    while content:
        if not content.startswith(GZIP):
            raise InputError(
                f"{path}: the file is damaged: {len(content)} surplus bytes follow its compressed content. Copy it "
                "again from its source."
            )
        stream = zlib.decompressobj(wbits=31)  # gzip; compares checksum and length at the end of the stream
        try:
            parts.append(stream.decompress(content))
        except zlib.error as error:
            raise InputError(
                f"{path}: the file is damaged; its compressed content cannot be read, or does not have the checksum "
                f"that it was written with ({first_line(error)}). Copy it again from its source."
            ) from error
        if not stream.eof:
            raise InputError(
                f"{path}: the file is truncated or damaged: {sum(map(len, parts))} bytes, and then its compressed "
                "content breaks off. Copy it again from its source."
            )
        content = stream.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)
