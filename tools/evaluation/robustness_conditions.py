"""Altered versions of a scan for `robustness.py`, and the way back to the scan as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai import transforms
from monai.data import MetaTensor
from monai.data.utils import compute_shape_offset
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy import ndimage
from scipy.spatial.transform import Rotation

from monai_mamba.data.image_file import read_image
from monai_mamba.data.image_reader import VerifyingNibabelReader
from monai_mamba.grids import voxel_map
from monai_mamba.labels import LabelTable
from monai_mamba.transforms.check_image import CheckImaged

SEED = 0
FWHM_PER_SIGMA = 2.355  # of a Gaussian
BRAIN_MARGIN_MM = 2.0
SMALLEST_BRAIN_MM3 = 5e5
OBLIQUE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Scan:
    """A scan to alter."""

    stored: nib.Nifti1Image  # voxels and affine as in the file
    image: MetaTensor  # `(1, H, W, D)` float32 with an affine, axes in the order RAS
    brain: MetaTensor | None  # `(1, H, W, D)` on the same grid, 1 in the brain, or None where that is not known


@dataclass(frozen=True)
class Change:
    """What was done to a scan, as far as it matters afterwards.

    `move` `(4, 4)` leads from where things lie in millimeters (RAS) to where the file says that they lie. It is the
    identity unless the head itself was moved.
    """

    move: np.ndarray = field(default_factory=lambda: np.eye(4))
    mirrored: bool = False  # whether left and right were exchanged
    detail: str = ""  # what is known only after the change, for the report

    def undo(self, labels: nib.Nifti1Image, table: LabelTable) -> tuple[np.ndarray, np.ndarray]:
        """Move the head back in a label map `(H, W, D)` of the altered scan; nothing is resampled.

        Returns the label ids, int32, and the affine `(4, 4)` with which they lie where they belong in the scan.
        """
        ids = np.asanyarray(labels.dataobj).astype(np.int32)
        if self.mirrored:
            swapped = np.arange(max(*table.ids, ids.max()) + 1, dtype=np.int32)
            swapped[list(table.ids)] = [table.ids[index] for index in table.mirror]
            ids = swapped[ids]
        return ids, np.linalg.inv(self.move) @ labels.affine


Altered = tuple[nib.Nifti1Image, Change]  # the image as it is written to a file


@dataclass(frozen=True)
class Condition:
    """One way to alter a scan."""

    group: str  # kind of alteration, see `GROUPS`
    name: str  # in tables and file names
    what: str  # one phrase for the report
    alter: Callable[[Scan], Altered]  # makes the altered scan, each time the same
    exact: bool = False  # whether the labels must be the same, voxel by voxel


def load_scan(path: Path, brain: nib.Nifti1Image | None) -> Scan:
    """Read a scan whose header has been checked, with a mask of its brain if there is one."""
    load = transforms.LoadImaged("image", reader=VerifyingNibabelReader)
    turn = transforms.Orientationd("image", axcodes="RAS", labels=None)
    read = transforms.Compose([load, transforms.EnsureChannelFirstd("image"), CheckImaged("image"), turn])
    image = read({"image": str(path)})["image"]
    source = read_image(path)
    voxels = np.asanyarray(source.dataobj).reshape(source.shape[:3])
    voxels = voxels.astype(voxels.dtype.newbyteorder("="), copy=False)  # MGH files are big-endian
    stored = nib.Nifti1Image(voxels, source.affine, dtype=voxels.dtype)
    mask = None
    if brain is not None:
        inside = onto_grid(np.asanyarray(brain.dataobj), brain.affine, image.shape[1:], _affine(image))
        mask = MetaTensor(torch.from_numpy(inside)[None], affine=image.affine)
    return Scan(stored, image, mask)


def brain_of(labels: nib.Nifti1Image) -> nib.Nifti1Image | None:
    """Mask of the brain from a label map of all of it: what has a label, 2 mm more, without holes.

    None if less than half a liter has a label, so that parts of the brain have none.
    """
    ids, spacing = np.asanyarray(labels.dataobj), nib.affines.voxel_sizes(labels.affine)
    if np.count_nonzero(ids) * np.prod(spacing) < SMALLEST_BRAIN_MM3:
        return None
    distance = ndimage.distance_transform_edt(ids == 0, sampling=spacing)
    mask = ndimage.binary_fill_holes(distance <= BRAIN_MARGIN_MM)
    return nib.Nifti1Image(mask.astype(np.uint8), labels.affine)


def onto_grid(ids: np.ndarray, affine: np.ndarray, shape: Sequence[int], grid_affine: np.ndarray) -> np.ndarray:
    """Resample a label map `(H, W, D)` to a grid of another shape and affine with nearest neighbor; 0 outside it."""
    matrix = voxel_map(grid_affine, affine)
    inside = {"order": 0, "mode": "grid-constant", "cval": 0}
    return ndimage.affine_transform(ids, matrix[:3, :3], matrix[:3, 3], tuple(shape), **inside)


def repeat(scan: Scan) -> Altered:
    """The scan as it is."""
    return scan.stored, Change()


def reorient(scan: Scan, axes: str) -> Altered:
    """Store the axes in another order and direction; no voxel changes its value or place."""
    change = ornt_transform(io_orientation(scan.stored.affine), axcodes2ornt(axes))
    return scan.stored.as_reoriented(change), Change()


def turn_head(scan: Scan, degrees: float, axis: Sequence[float]) -> Altered:
    """Turn the head in the scanner: the grid of the file stays upright and grows until it holds the whole image."""
    move, affine = _about_center(scan.image, _rotation(degrees, axis)), _affine(scan.image)
    shape, affine[:3, 3] = compute_shape_offset(scan.image.shape[1:], move @ affine, affine)
    return _as_file(_resample(scan.image, np.linalg.inv(move) @ affine, shape), move), Change(move)


def turn_grid(scan: Scan, degrees: float, axis: Sequence[float]) -> Altered:
    """Turn the grid about the resting head, as an oblique acquisition does: the header says so."""
    affine = _about_center(scan.image, _rotation(degrees, axis)) @ _affine(scan.image)
    shape, affine[:3, 3] = compute_shape_offset(scan.image.shape[1:], _affine(scan.image), affine)
    return _as_file(_resample(scan.image, affine, shape)), Change()


def shift_grid(scan: Scan, voxels: float) -> Altered:
    """Move the grid by a part of a voxel along each axis: the header says so."""
    affine = _affine(scan.image)
    affine[:3, 3] += affine[:3, :3] @ np.full(3, voxels)
    return _as_file(_resample(scan.image, affine, scan.image.shape[1:])), Change()


def change_spacing(scan: Scan, spacing: Sequence[float | None]) -> Altered:
    """Resample to other voxel sizes, after the blur that larger voxels bring.

    They are in mm from left to right, back to front, and foot to head; None leaves one as it is.
    """
    old = nib.affines.voxel_sizes(_affine(scan.image))
    new = np.array([size or own for size, own in zip(spacing, old, strict=True)])
    fwhm = np.sqrt(np.maximum(new**2 - old**2, 0)) / old
    blurred = transforms.GaussianSmooth((fwhm / FWHM_PER_SIGMA).tolist())(scan.image)
    return _as_file(transforms.Spacing(new, mode="bilinear", padding_mode="border")(blurred)), Change()


def mirror(scan: Scan) -> Altered:
    """Exchange left and right of the head."""
    move = _about_center(scan.image, np.diag([-1.0, 1.0, 1.0]))
    return _as_file(scan.image, move), Change(move, mirrored=True)


def add_noise(scan: Scan, ratio: float) -> Altered:
    """Add Rician noise whose standard deviation is that of soft tissue divided by `ratio`."""
    deviation = float(scan.image[_soft_tissue(scan.image)].median()) / ratio
    noise = transforms.RandRicianNoise(prob=1.0, std=deviation, sample_std=False).set_random_state(SEED)
    return _as_file(noise(scan.image)), Change()


def add_bias(scan: Scan, strength: float) -> Altered:
    """Multiply by a smooth field: the exponential of a polynomial with coefficients in -strength..strength."""
    biased = transforms.RandBiasField(coeff_range=(-strength, strength), prob=1.0).set_random_state(SEED)(scan.image)
    head = _soft_tissue(scan.image)
    ratios = np.asarray(biased[head]) / np.asarray(scan.image[head])
    low, high = np.percentile(ratios, (5, 95)) / np.median(ratios)
    return _as_file(biased), Change(detail=f"90 % of the head at {low:.2f} to {high:.2f} of the median")


def change_gamma(scan: Scan, gamma: float) -> Altered:
    """Raise the intensities, scaled to 0..1, to a power."""
    return _as_file(transforms.AdjustContrast(gamma)(scan.image)), Change()


def strip_skull(scan: Scan) -> Altered:
    """Set everything outside the brain to 0."""
    return _as_file(transforms.MaskIntensity(scan.brain)(scan.image)), Change()


def _conditions() -> Iterator[Condition]:
    yield Condition("repeat", "repeat", "the same file again", repeat, exact=True)
    for axes in ("LAS", "PSL"):
        what = f"axes stored as {axes}"
        yield Condition("orientation", f"stored-{axes}", what, partial(reorient, axes=axes), exact=True)
    for name, text, degrees, axis in (
        ("oblique", "an oblique axis", 5, OBLIQUE),
        ("oblique", "an oblique axis", 10, OBLIQUE),
        ("oblique", "an oblique axis", 15, OBLIQUE),
        ("nodding", "left-right", 15, (1.0, 0.0, 0.0)),
        ("tilted", "front-back", 15, (0.0, 1.0, 0.0)),
        ("turned", "foot-head", 15, (0.0, 0.0, 1.0)),
    ):
        turn = partial(turn_head, degrees=degrees, axis=axis)
        yield Condition("rotation", f"head-{name}-{degrees}", f"head turned {degrees}° about {text}", turn)
    turn = partial(turn_grid, degrees=15, axis=OBLIQUE)
    yield Condition("oblique", "grid-oblique-15", "grid turned 15° about the head", turn)
    move = partial(shift_grid, voxels=0.5)
    yield Condition("shift", "shift-0.5", "grid moved by half a voxel along each axis", move)
    yield Condition("mirror", "mirror", "left and right exchanged", mirror)
    for size in (0.8, 1.2, 1.5):
        yield Condition("spacing", f"{size}mm", f"voxels of {size} mm", partial(change_spacing, spacing=(size,) * 3))
    for axis, name in enumerate(("sagittal", "coronal", "axial")):
        spacing = [3 if other == axis else None for other in range(3)]
        yield Condition("slices", f"{name}-3mm", f"{name} slices of 3 mm", partial(change_spacing, spacing=spacing))
    for ratio in (20, 10, 5):
        yield Condition("noise", f"snr-{ratio}", f"Rician noise, SNR {ratio}", partial(add_noise, ratio=ratio))
    for strength in (0.1, 0.2, 0.4):
        what = f"bias field, coefficients up to {strength}"
        yield Condition("bias", f"bias-{strength}", what, partial(add_bias, strength=strength))
    for gamma in (0.7, 0.85, 1.2, 1.5):
        what = f"intensities to the power of {gamma}"
        yield Condition("gamma", f"gamma-{gamma}", what, partial(change_gamma, gamma=gamma))
    yield Condition("stripped", "stripped", "everything outside the brain set to 0", strip_skull)


CONDITIONS = tuple(_conditions())
GROUPS = tuple(dict.fromkeys(condition.group for condition in CONDITIONS))


def _affine(image: MetaTensor) -> np.ndarray:
    return np.array(image.affine, dtype=float)


def _as_file(image: MetaTensor, move: np.ndarray | None = None) -> nib.Nifti1Image:
    affine = _affine(image) if move is None else move @ _affine(image)
    return nib.Nifti1Image(np.asarray(image[0], dtype=np.float32), affine)


def _rotation(degrees: float, axis: Sequence[float]) -> np.ndarray:
    return Rotation.from_rotvec(degrees * np.asarray(axis) / np.linalg.norm(axis), degrees=True).as_matrix()


def _about_center(image: MetaTensor, matrix: np.ndarray) -> np.ndarray:
    """The linear map `matrix` (3, 3) with the center of the field of view at rest, `(4, 4)` in millimeters."""
    center = nib.affines.apply_affine(_affine(image), (np.asarray(image.shape[1:]) - 1) / 2)
    return nib.affines.from_matvec(matrix, center - matrix @ center)


def _resample(image: MetaTensor, affine: np.ndarray, shape: Sequence[int]) -> MetaTensor:
    resample = transforms.SpatialResample(mode="bilinear", padding_mode="zeros", dtype=np.float64)
    return resample(image, dst_affine=torch.from_numpy(affine), spatial_size=[int(size) for size in shape])


def _soft_tissue(image: MetaTensor) -> torch.Tensor:
    """Voxels that are brighter than the mean of the image, which in a head leaves out air and bone."""
    return image.as_tensor() > image.as_tensor().mean()
