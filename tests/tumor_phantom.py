"""A brain with a tumor of three nested regions, each bright in modalities of its own, and a network that knows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

SHAPE = (36, 40, 34)
BRAIN, BRIGHT = 100, 220
CENTER = np.array([-4.0, 5.0, 3.0])  # mm, RAS, from the middle of the grid
RADII = {"WT": 8.0, "TC": 6.0, "ET": 4.0}
STYLES = {
    "2021": {"flair": "_flair", "t1": "_t1", "t1ce": "_t1ce", "t2": "_t2", "label": "_seg"},
    "2023": {"flair": "-t2f", "t1": "-t1n", "t1ce": "-t1c", "t2": "-t2w", "label": "-seg"},
    "bids": {"flair": "_FLAIR", "t1": "_T1w", "t1ce": "_ce-gadolinium_T1w", "t2": "_T2w", "label": "_dseg"},
}
MODALITIES = ("flair", "t1", "t1ce", "t2")


def middle_affine(shape: Sequence[int], spacing: float = 1.0, axes: np.ndarray | None = None) -> np.ndarray:
    """Affine with these axes (RAS if None) whose origin is the middle of the grid."""
    affine = np.eye(4)
    affine[:3, :3] = spacing * (np.eye(3) if axes is None else axes)
    affine[:3, 3] = -affine[:3, :3] @ (np.asarray(shape) - 1) / 2
    return affine


def make_tumor(
    shape: Sequence[int] = SHAPE, affine: np.ndarray | None = None, center: np.ndarray = CENTER
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Volumes (int16) of the four modalities and label ids (uint8, 1 necrosis, 2 edema, 3 enhancing) on a grid."""
    affine = middle_affine(shape) if affine is None else affine
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    distance = np.linalg.norm(points - center, axis=-1)
    inside = {name: distance <= radius for name, radius in RADII.items()}
    # A little texture, the same wherever the grid lies, so that no modality is constant.
    texture = np.rint(3 * np.sin(points.sum(axis=-1) / 3)).astype(np.int16)
    brain = np.linalg.norm(points, axis=-1) <= 16
    volumes = {}
    for name, region in zip(MODALITIES, ("WT", "TC", "ET", "WT"), strict=True):
        volume = np.where(inside[region], BRIGHT, BRAIN) + texture
        volumes[name] = np.where(brain, volume, 0).astype(np.int16)
    labels = np.select([inside["ET"], inside["TC"], inside["WT"]], [3, 1, 2]).astype(np.uint8)
    return volumes, labels


def save(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> str:
    """Write a volume, or several along a fourth axis."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, middle_affine(data.shape[:3]) if affine is None else affine)
    image.set_sform(image.affine, code=1)
    nib.save(image, path)
    return str(path)


def save_case(
    folder: Path,
    name: str = "case",
    style: str = "2021",
    only: Sequence[str] = MODALITIES,
    label: bool = False,
    convention: dict[int, int] | None = None,
    center: np.ndarray = CENTER,
) -> np.ndarray:
    """Write the files of a case; `convention` maps 1, 2, 3 to other ids. Returns the label ids as written."""
    volumes, labels = make_tumor(center=center)
    for modality in only:
        save(folder / f"{name}{STYLES[style][modality]}.nii.gz", volumes[modality])
    if convention:
        labels = np.select([labels == old for old in convention], list(convention.values())).astype(np.uint8)
    if label:
        save(folder / f"{name}{STYLES[style]['label']}.nii.gz", labels)
    return labels


class TumorNetwork(torch.nn.Module):
    """Names the regions by normalized gray values: WT is bright in FLAIR or T2, TC in T1, ET in T1ce."""

    def __init__(self) -> None:
        super().__init__()
        self.steepness = torch.nn.Parameter(torch.tensor(20.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, 3, H, W, D) of TC, WT and ET from (B, 4, H, W, D)."""
        flair, t1, t1ce, t2 = x.unbind(dim=1)
        regions = torch.stack([t1 - 2, torch.maximum(flair, t2) - 1.5, t1ce - 2], dim=1)
        return self.steepness * regions
