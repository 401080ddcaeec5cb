"""A head without symmetry whose modalities were scanned in turned and shifted positions, on grids of their own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation
from tumor_phantom import MODALITIES, middle_affine, save

FIXED = ((44, 52, 46), 2.0)  # voxels, and mm between them, of T1ce
GRIDS = {
    "flair": ((70, 80, 24), (1.3, 1.3, 4.0)),
    "t1": ((48, 40, 50), (2.0, 2.5, 1.8)),
    "t2": ((60, 60, 30), (1.5, 1.7, 3.0)),
}
MOVES = {"flair": ((9, -6, 12), (10, -7, 8)), "t1": ((-3, 2, 4), (2, 3, -4)), "t2": ((0, 10, -5), (-8, 0, 6))}
TUMOR = np.array([-12.0, 10.0, 6.0])  # mm
RADII = {"WT": 12.0, "TC": 9.0, "ET": 6.0}
SHOWN = {"flair": "WT", "t1": "TC", "t1ce": "ET", "t2": "WT"}  # by TumorNetwork


def motion(modality: str) -> np.ndarray:
    """Matrix `(4, 4)` from the millimeters of T1ce to those of another scan: degrees about x, y, z; then mm."""
    angles, shift = MOVES[modality]
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("XYZ", angles, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def points(shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """Position of each voxel in mm, `(H, W, D, 3)`."""
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) @ affine[:3, :3].T + affine[:3, 3]


def head(where: np.ndarray, modality: str) -> np.ndarray:
    """Gray values, float32, at positions in the millimeters of T1ce; 0 outside the brain."""
    x, y, z = np.moveaxis(where, -1, 0)
    brain = (x / 34) ** 2 + (y / 42) ** 2 + ((z + 0.1 * y) / 36) ** 2 < 1
    fluid = ((x - 6) / 4) ** 2 + ((y + 6) / 14) ** 2 + ((z - 3) / 6) ** 2 < 1
    texture = 15 * np.sin(x / 6) * np.cos(y / 8) + 12 * np.sin(z / 5 + x / 15)
    bright = 1 if modality in ("t1", "t1ce") else -1
    values = np.where(fluid, 100 - 60 * bright, 100 + bright * texture)
    values = np.where(np.linalg.norm(where - TUMOR, axis=-1) < RADII[SHOWN[modality]], 300, values)
    return np.where(brain, values, 0).astype(np.float32)


def scan(modality: str) -> tuple[np.ndarray, np.ndarray]:
    """A modality in its own position and the affine of its grid; voxels are means over their eighths."""
    shape, spacing = GRIDS.get(modality, FIXED)
    affine = middle_affine(shape, 1.0)
    affine[:3] = np.diag(np.broadcast_to(spacing, 3)) @ affine[:3]
    back = np.linalg.inv(motion(modality)) if modality in MOVES else np.eye(4)
    quarters = [back @ affine @ from_matvec(np.eye(3), shift) for shift in itertools.product((-0.25, 0.25), repeat=3)]
    return np.mean([head(points(shape, part), modality) for part in quarters], axis=0, dtype=np.float32), affine


def save_moved_case(folder: Path) -> None:
    """Write the files of the case `a`."""
    for modality in MODALITIES:
        save(folder / f"a_{modality}.nii.gz", *scan(modality))
