"""Headers and files as they occur in the wild: each is used as it should be, or refused by name."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from head_phantom import LEFT, RIGHT, centered_affine, make_head
from test_malformed import SHAPE, failure, noise, options, results, run, volume

__all__ = ["options"]  # a fixture
HEADER = 348


def plain(path: Path) -> bytearray:
    """Bytes of an uncompressed NIfTI file of the phantom."""
    affine = centered_affine(SHAPE, np.eye(3))
    return bytearray(nib.Nifti1Image(make_head(SHAPE, affine)[0], affine).to_bytes())


def patched(*changes: tuple[int, str, float]) -> Callable[[Path], Path]:
    """A file whose header holds other values: offset, type as in `struct`, value."""

    def make(path: Path) -> Path:
        content = plain(path)
        for offset, kind, value in changes:
            struct.pack_into(f"<{kind}", content, offset, value)
        path.write_bytes(content)
        return path

    return make


def written(content: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return make


def mgh(path: Path, offset: int, value: int) -> Path:
    affine = centered_affine(SHAPE, np.eye(3))
    content = bytearray(nib.MGHImage(make_head(SHAPE, affine)[0], affine).to_bytes())
    struct.pack_into(">i", content, offset, value)
    path.write_bytes(content)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def filled(value: float) -> Callable[[Path], Path]:
    return lambda path: volume(path, np.full(SHAPE, value, np.float32))


RANDOM = np.random.default_rng(1).bytes(4096)
PIXDIM, SROW, SFORM_CODE = 76, 280, 254
REFUSED: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "wrong magic": ("s.nii", patched((344, "i", 0x21212121)), "not a readable"),
    "no axes": ("s.nii", patched((40, "h", 0)), "a 2-D image or a thin slab (0)"),
    "nine axes": ("s.nii", patched((40, "h", 9)), "not a readable"),
    "negative size": ("s.nii", patched((42, "h", -24)), "a 2-D image or a thin slab (-24"),
    "size 0": ("s.nii", patched((42, "h", 0)), "a 2-D image or a thin slab"),
    "35 million million voxels": (
        "s.nii",
        patched(*((42 + 2 * a, "h", 32767) for a in range(3))),
        "voxels are more than",
    ),
    "unknown type of voxels": ("s.nii", patched((70, "h", 999)), "not a readable"),
    "voxels begin after the end": ("s.nii", patched((108, "f", 1e6)), "truncated or damaged"),
    "voxels begin at NaN": ("s.nii", patched((108, "f", np.nan)), "not a readable"),
    "affine NaN": ("s.nii", patched((SROW, "f", np.nan)), "singular or not finite"),
    "affine infinite": ("s.nii", patched((SROW + 12, "f", np.inf)), "singular or not finite"),
    "origin 1000 km away": ("s.nii", patched((SROW + 12, "f", 1e9)), "places voxels up to 1e+09 mm away"),
    "affine 0": ("s.nii", patched(*((SROW + 4 * i, "f", 0) for i in range(12))), "singular or not finite"),
    "no sform, voxels of NaN mm": ("s.nii", patched((SFORM_CODE, "h", 0), (PIXDIM + 4, "f", np.nan)), "not finite"),
    "random bytes": ("s.nii", written(RANDOM), "not a readable"),
    "random bytes, compressed": ("s.nii.gz", written(gzip.compress(RANDOM)), "not a readable"),
    "random bytes as mgz": ("s.mgz", written(RANDOM), "not a readable"),
    "gzip of nothing": ("s.nii.gz", written(gzip.compress(b"")), "not a readable"),
    "header only": ("s.nii", lambda path: written(bytes(plain(path)[:HEADER]))(path), "truncated or damaged"),
    "mgh of another version": ("s.mgh", lambda path: mgh(path, 0, 7), "not a readable"),
    "mgh of three frames": ("s.mgh", lambda path: mgh(path, 16, 3), "a series of 3 volumes"),
    "mgh of another type": ("s.mgh", lambda path: mgh(path, 20, 77), "not a readable"),
    "an image in the shape of a voxel": ("s.nii.gz", lambda path: volume(path, noise(1, 1, 1)), "a 2-D image"),
    "vectors": ("s.nii.gz", lambda path: volume(path, noise(*SHAPE, 1, 3)), "a series of 3 volumes"),
    "all NaN": ("s.nii.gz", filled(np.nan), r"100.0% of the voxels are NaN"),
    "all infinite": ("s.nii.gz", filled(-np.inf), r"100.0% of the voxels are NaN"),
    "header of a pair": ("s.hdr", written(bytes(HEADER)), "Analyze files do not say which side is left"),
    "pipe": ("s.nii.gz", pipe, "no such file"),
    "folder with the name of an image": ("s.nii.gz", folder, "no image in this folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case, tmp_path, options):
    name, make, message = REFUSED[case]
    error = str(failure(make(tmp_path / name), options))
    assert name in error
    assert message in error
    assert results(tmp_path) == []


def turned(angle: float, *spacing: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) @ np.diag(spacing)


GEOMETRY: dict[str, tuple[tuple[int, int, int], np.ndarray]] = {
    "left-handed": (SHAPE, np.diag([-1.0, 1, 1])),
    "oblique": ((48, 48, 44), turned(0.3, 1, 1, 1)),
    "sheared": ((48, 48, 44), np.array([[1, 0.15, 0], [0, 1, 0], [0, 0, 1.0]])),
    "voxels of 0.4 mm": ((96, 96, 88), turned(0, 0.4, 0.4, 0.4)),
    "slices of 4 mm": ((40, 44, 11), turned(0, 1, 1, 4)),
    "field of view of 300 mm": ((150, 40, 40), turned(0, 2, 1, 1)),
}


@pytest.mark.parametrize("case", GEOMETRY)
def test_odd_geometry_keeps_structures_in_their_place(case, tmp_path, options):
    shape, matrix = GEOMETRY[case]
    affine = centered_affine(shape, matrix)
    image, truth = make_head(shape, affine)
    path = volume(tmp_path / "s.nii.gz", image, affine)
    run(path, options)
    result = nib.load(tmp_path / "out" / "s_desc-subcortical_dseg.nii.gz")
    np.testing.assert_array_equal(result.affine, nib.load(path).affine)
    labels = np.asarray(result.dataobj)
    for structure in (LEFT, RIGHT):
        found, expected = labels == structure, truth == structure
        assert 2 * np.sum(found & expected) / (found.sum() + expected.sum()) > 0.85


def scaled(path: Path, factor: float) -> Path:
    """Values whose scale lies in the slope of the header."""
    affine = centered_affine(SHAPE, np.eye(3))
    image = nib.Nifti1Image(make_head(SHAPE, affine)[0].astype(np.int16), affine)
    content = bytearray(image.to_bytes())
    struct.pack_into("<ff", content, 112, factor, 0)
    path.write_bytes(content)
    return path


def typed(path: Path, kind: str) -> Path:
    affine = centered_affine(SHAPE, np.eye(3))
    data = make_head(SHAPE, affine)[0]
    if np.dtype(kind).itemsize == 1:
        data = data / 10
    nib.save(nib.Nifti1Image(data.astype(kind), affine, dtype=kind), path)
    return path


def off_center(path: Path) -> Path:
    """The origin lies 400 mm outside the head, as after a careless conversion."""
    affine = centered_affine(SHAPE, np.eye(3))
    data = make_head(SHAPE, affine)[0]
    affine[:3, 3] += (400, -150, 90)
    return volume(path, data, affine)


USED: dict[str, Callable[[Path], Path]] = {
    "slope 1e-30": lambda path: scaled(path, 1e-30),
    "slope 1e20": lambda path: scaled(path, 1e20),
    "int8": lambda path: typed(path, "int8"),
    "uint8": lambda path: typed(path, "uint8"),
    "uint32": lambda path: typed(path, "uint32"),
    "header that says it has 347 bytes": patched((0, "i", 347)),
    "wrong number of bits": patched((72, "h", 64)),
    "no intent, odd units": patched((68, "h", 1007), (123, "b", 127)),
    "pixdim[0] = 0": patched((PIXDIM, "f", 0)),
    "origin far from the head": off_center,
}


@pytest.mark.parametrize("case", USED)
def test_odd_but_usable(case, tmp_path, options):
    run(USED[case](tmp_path / "s.nii"), options)
    labels = np.asarray(nib.load(tmp_path / "out" / "s_desc-subcortical_dseg.nii.gz").dataobj)
    expected = make_head(SHAPE, centered_affine(SHAPE, np.eye(3)))[1]
    labels[0, 0, 0] = 0  # the air of the phantom, whose gray value depends on the scale
    np.testing.assert_array_equal(labels, expected)
