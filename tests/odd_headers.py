"""Heads whose headers contradict themselves, or say nothing about left and right."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from head_phantom import centered_affine, make_head

SHAPE = (24, 26, 22)
AFFINE = centered_affine(SHAPE, np.eye(3))
PIXDIM, UNITS, QUATERNION = 76, 123, 256  # bytes of a NIfTI header
ORIENTED, COSINES = 28, 42  # bytes of an MGH header: goodRASFlag, direction cosines


def turned(degrees: float, axis: int = 2) -> np.ndarray:
    """A turn about an axis, `(4, 4)`."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix, (one, other) = np.eye(4), [i for i in range(3) if i != axis]
    matrix[one, one], matrix[one, other], matrix[other, one], matrix[other, other] = cosine, -sine, sine, cosine
    return matrix


def head(
    path: Path, sform: np.ndarray | None = AFFINE, qform: np.ndarray | None = AFFINE, pixdim: float | None = None
) -> Path:
    """A head whose header holds these two matrices, with code 1 each, and these voxel sizes."""
    image = nib.Nifti1Image(make_head(SHAPE, AFFINE)[0], AFFINE)
    image.set_sform(sform, code=0 if sform is None else 1)
    image.set_qform(qform, code=0 if qform is None else 1)
    content = bytearray(image.to_bytes())
    if pixdim is not None:
        content[PIXDIM + 4 : PIXDIM + 16] = np.full(3, pixdim, np.float32).tobytes()
    path.write_bytes(content)
    return path


def no_rotation(path: Path) -> Path:
    content = bytearray(head(path).read_bytes())
    content[QUATERNION : QUATERNION + 12] = np.full(3, 0.9, np.float32).tobytes()
    path.write_bytes(content)
    return path


def in_meters(path: Path) -> Path:
    content = bytearray(head(path).read_bytes())
    content[UNITS] = 1
    path.write_bytes(content)
    return path


def mirrored_mgh(path: Path) -> Path:
    """An MGH file with voxels of -1 mm along its first axis."""
    content = bytearray(nib.MGHImage(make_head(SHAPE, AFFINE)[0], AFFINE).to_bytes())
    content[COSINES - 12 : COSINES - 8] = np.array(-1, ">f4").tobytes()
    path.write_bytes(content)
    return path


def mgh(path: Path) -> Path:
    """An MGH file whose direction cosines have the length 1.5, so that its voxel sizes are given twice."""
    content = bytearray(nib.MGHImage(make_head(SHAPE, AFFINE)[0], AFFINE).to_bytes())
    cosines = np.frombuffer(content[COSINES : COSINES + 36], ">f4") * 1.5
    content[COSINES : COSINES + 36] = cosines.astype(">f4").tobytes()
    path.write_bytes(content)
    return path


def moved(*millimeters: float) -> np.ndarray:
    return nib.affines.from_matvec(np.eye(3), millimeters) @ AFFINE


HALF = centered_affine(SHAPE, np.eye(3) / 2)


def patched(path: Path, *changes: tuple[int, float]) -> Path:
    """A head without sform, which the qform places, with other values of pixdim."""
    content = bytearray(head(path, sform=None).read_bytes())
    for index, value in changes:
        content[PIXDIM + 4 * index : PIXDIM + 4 * index + 4] = np.float32(value).tobytes()
    path.write_bytes(content)
    return path


MIRRORED = np.diag([-1.0, 1, 1, 1]) @ AFFINE


def without_orientation(path: Path) -> Path:
    """An MGH file whose goodRASFlag is 0."""
    content = bytearray(nib.MGHImage(make_head(SHAPE, AFFINE)[0], AFFINE).to_bytes())
    content[ORIENTED : ORIENTED + 2] = bytes(2)
    path.write_bytes(content)
    return path
