"""A head of two hippocampi, ellipsoids with an anterior and a posterior half, and networks that know them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from head_phantom import IntensityNetwork, centered_affine

TISSUE = 100.0
RADII = (7.0, 13.0, 6.0)  # mm, right-left, posterior-anterior, inferior-superior
# Center in mm, RAS; gray value, for the first network; ids of the anterior and the posterior half.
SIDES = {17: ((-14.0, -3.0, -2.0), 300.0, (1701, 1702)), 53: ((15.0, 2.0, 1.0), 400.0, (5301, 5302))}
VOLUME = 4 / 3 * np.pi * np.prod(RADII)


def make_head(shape: tuple[int, int, int], affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (float32), ids of the hippocampi and ids of their halves (uint16), sampled at the centers of the voxels."""
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    image, aseg, parts = np.full(shape, TISSUE, np.float32), np.zeros(shape, np.uint16), np.zeros(shape, np.uint16)
    for label, (center, value, (anterior, posterior)) in SIDES.items():
        inside = (((points - center) / RADII) ** 2).sum(-1) <= 1
        image[inside], aseg[inside] = value, label
        parts[inside] = np.where(points[inside][:, 1] > center[1], anterior, posterior)
    image[0, 0, 0] = 0  # air: the gray scale begins at the smallest value
    return image, aseg, parts


def save_head(path: Path, shape: tuple[int, int, int], matrix: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """Write a phantom, moved to the right by `shift` mm, beside its `aseg.nii.gz`; returns the ids of the halves."""
    affine = centered_affine(shape, matrix)
    affine[0, 3] += shift
    image, aseg, parts = make_head(shape, affine)
    nib.save(nib.Nifti1Image(image, affine), path)
    nib.save(nib.Nifti1Image(aseg, affine), path.parent / "aseg.nii.gz")
    return parts


class HalvesNetwork(torch.nn.Module):
    """Divides what is bright in a box at the middle of its last axis, as a box around a phantom's hippocampus is."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, 3, H, W, D) of boxes (B, 1, H, W, D), 0..1."""
        inside = 1000 * (x - self.threshold)
        anterior = (torch.arange(x.shape[-1]) >= x.shape[-1] // 2).float()
        return torch.cat([torch.zeros_like(x), inside - 1000 * (1 - anterior), inside - 1000 * anterior], dim=1)


def save_weights(folder: Path) -> dict[str, str]:
    """Weights of both networks, as options of the config."""
    first = IntensityNetwork()
    with torch.no_grad():
        first.levels.copy_(torch.tensor([0.0, 300.0, 400.0, TISSUE]) / 400.0)
    torch.save(first.state_dict(), folder / "first.pt")
    torch.save(HalvesNetwork().state_dict(), folder / "second.pt")
    return {"first_weights": str(folder / "first.pt"), "weights": str(folder / "second.pt")}
