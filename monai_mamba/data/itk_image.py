"""NRRD and MetaImage files as NIfTI images: ITK reads the header, and every byte of the voxels is verified.

What does not say where left and right are, is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from monai_mamba.data.geometry import LARGEST_SIZE, check_affine
from monai_mamba.data.unpacking import check_length, unpack
from monai_mamba.errors import InputError
from monai_mamba.files import read_whole

NRRD_SUFFIXES, META_SUFFIXES = (".nrrd", ".nhdr"), (".mha", ".mhd")
SPACES = {"left-posterior-superior", "right-anterior-superior", "left-anterior-superior", "lps", "ras", "las"}
DIRECTIONS = {"transformmatrix", "rotation", "orientation"}
SIZES = {"elementspacing", "elementsize"}
BIG_ENDIAN = (("endian", "big"), ("binarydatabyteordermsb", "true"), ("elementbyteordermsb", "true"))
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
HEADER_BYTES = 65536
SKIPS = ("byte skip", "line skip", "headersize")  # of voxels that begin within a file


class LazyVoxels:
    """Voxels that `read` returns whenever they are asked for: an array proxy of nibabel."""

    is_proxy = True

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, read: Callable[[], np.ndarray]) -> None:
        self.shape, self.dtype, self.read = shape, dtype, read
        self.ndim = len(shape)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """Return all voxels."""
        return np.asarray(self.read(), dtype)

    def __getitem__(self, index: object) -> np.ndarray:
        """Return some voxels."""
        return np.asarray(self)[index]


def nifti_image(name: str | Path, voxels: LazyVoxels, affine: np.ndarray) -> nib.Nifti1Image:
    """Make a NIfTI image of voxels of another format.

    Args:
        name: file, for messages.
        voxels: `(H, W, D, ...)`.
        affine: `(4, 4)`, voxel index to millimeters from right to left, anterior to posterior, inferior to superior
            (LPS), as in DICOM and ITK. The image has that of NIfTI (RAS); its qform is set where it can hold it.

    Raises:
        InputError: see `check_affine`.
    """
    check_affine(name, affine)
    affine = LPS_TO_RAS @ affine
    image = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    axes = affine[:3, :3] / np.maximum(np.linalg.norm(affine[:3, :3], axis=0), np.finfo(float).tiny)
    if np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        image.set_qform(affine, code="scanner")
    return image


def open_itk(path: str | Path) -> nib.Nifti1Image:
    """Read the header of a NRRD (`.nrrd`, `.nhdr`) or MetaImage (`.mha`, `.mhd`) file; voxels when they are asked for.

    Raises:
        InputError: the file cannot be read, has several values a voxel, does not say which side is left, or has voxels
            in no file, in several, or of an encoding other than raw, gzip (NRRD) or zlib (MetaImage). And with the
            voxels: their file is truncated, damaged, or longer than promised.
    """
    # Here, because the import takes a second or more that only readers of such files should pay.
    import itk

    path = Path(path)
    fields, offset = _fields(path)
    source, encoding = _voxel_file(path, fields)
    io = (itk.NrrdImageIO if _is_nrrd(path) else itk.MetaImageIO).New()
    try:
        io.SetFileName(str(path))
        io.ReadImageInformation()
    except RuntimeError as error:
        reason = [line.strip() for line in str(error).splitlines() if line.strip()][-1]
        raise InputError(
            f"{path}: not a readable NRRD or MetaImage file ({reason}). Check that the file is what its name says and "
            "was copied completely."
        ) from error
    if io.GetNumberOfComponents() > 1:
        raise InputError(
            f"{path}: {io.GetNumberOfComponents()} values a voxel; expected one real number. Save each volume as a "
            "file of its own."
        )
    shape = tuple(int(io.GetDimensions(axis)) for axis in range(io.GetNumberOfDimensions()))
    affine, axes = np.eye(4), range(min(len(shape), 3))
    directions, sizes = [np.array(io.GetDirection(axis))[axes] for axis in axes], [io.GetSpacing(axis) for axis in axes]
    _check_sizes(path, fields, directions, sizes)
    for axis in axes:
        affine[axes, axis] = directions[axis] * sizes[axis]
        affine[axis, 3] = io.GetOrigin(axis)
    kind = io.GetComponentTypeAsString(io.GetComponentType())
    kind = "u" if kind.startswith("unsigned") else "f" if kind in ("float", "double") else "i"
    dtype = np.dtype(f"{kind}{io.GetComponentSize()}")
    stored = dtype.newbyteorder(
        ">" if any(fields.get(name, "").lower() == value for name, value in BIG_ENDIAN) else "<"
    )

    def read() -> np.ndarray:
        content = read_whole(source or path)[0 if source else offset :]
        if encoding != "raw":
            content = unpack(source or path, content, wbits=31 if encoding == "gzip" else 15)
        check_length(source or path, len(content), math.prod(shape) * dtype.itemsize)
        return np.frombuffer(content, stored).reshape(shape, order="F").astype(dtype)

    return nifti_image(path, LazyVoxels(shape, dtype, read), affine)


def _is_nrrd(path: Path) -> bool:
    return path.name.lower().endswith(NRRD_SUFFIXES)


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The lines of a header by their names in lower case, and the number of its bytes."""
    try:
        with path.open("rb") as file:
            content = file.read(HEADER_BYTES)
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error.strerror or error}).") from error
    end = re.search(rb"\r?\n\r?\n" if _is_nrrd(path) else rb"ElementDataFile[^\n]*\n?", content)
    length = end.end() if end else len(content)
    lines = content[:length].decode("utf-8", "replace").splitlines()
    pairs = (line.split(":" if _is_nrrd(path) else "=", 1) for line in lines if not line.startswith("#"))
    fields = {pair[0].strip().lower(): pair[1].strip() for pair in pairs if len(pair) == 2}
    is_known = fields.get("space", "").lower() in SPACES if _is_nrrd(path) else DIRECTIONS & fields.keys()
    if fields and not is_known:
        name = "space" if _is_nrrd(path) else "TransformMatrix"
        raise InputError(
            f"{path}: the header does not say which side is left ('{name}: {fields.get('space', 'missing')}'). Convert "
            "the scan again from the original data, for example with dcm2niix."
        )
    return fields, length


def _check_sizes(
    path: Path, fields: Mapping[str, str], directions: Sequence[np.ndarray], sizes: Sequence[float]
) -> None:
    """Refuse sizes of voxels that a header leaves open, or that are none; ITK would take 1 mm, or mirror the image."""
    units = re.findall(r'"([^"]*)"', fields.get("space units", "")) or [fields.get("distanceunits", "mm")]
    lengths = [float(np.linalg.norm(direction)) for direction in directions]
    found = ""
    if others := sorted({unit for unit in units if unit.strip().lower() not in ("mm", "millimeter", "millimeters")}):
        found = f"lengths in {', '.join(others)}; expected mm"
    elif "none" in fields.get("space directions", "") or not (_is_nrrd(path) or SIZES & fields.keys()):
        found = "no size of the voxels along an axis"
    elif min(sizes) < 0:
        found = f"voxels of {' x '.join(f'{size:g}' for size in sizes)} mm; expected sizes above 0"
    elif min(lengths) > 0 and max(abs(length - 1) for length in lengths) > LARGEST_SIZE:
        found = f"directions of the length {', '.join(f'{length:g}' for length in lengths)}; expected 1"
    if found:
        raise InputError(f"{path}: the header has {found}. Convert the scan again from the original data.")


def _voxel_file(path: Path, fields: Mapping[str, str]) -> tuple[Path | None, str]:
    """The file of the voxels, None if it is that of the header; and how they are stored."""
    if _is_nrrd(path):
        place = fields.get("data file") or fields.get("datafile") or "local"
        encoding = {"gz": "gzip"}.get(fields.get("encoding", "raw").lower(), fields.get("encoding", "raw").lower())
    else:
        place = fields.get("elementdatafile", "local")
        encoding = "zlib" if fields.get("compresseddata", "").lower() == "true" else "raw"
        encoding = encoding if fields.get("binarydata", "true").lower() == "true" else "text"
    skips = [name for name in SKIPS if fields.get(name, "0") not in ("0", "-1")]
    if encoding not in ("raw", "gzip", "zlib") or skips:
        raise InputError(
            f"{path}: voxels with '{', '.join(skips) or f'encoding: {encoding}'}'; expected raw or compressed ones "
            "from the beginning of their file. Save the scan again, for example with 3D Slicer or ITK-SNAP."
        )
    if place.upper().startswith("LIST") or "%" in place:
        raise InputError(f"{path}: its voxels lie in several files. Save the scan as one file, for example as NIfTI.")
    if place.lower() == "local":
        return None, encoding
    if not (path.parent / place).is_file():
        raise InputError(f"{path}: its voxels are in {place}, which does not exist. Copy that file, too.")
    return path.parent / place, encoding
