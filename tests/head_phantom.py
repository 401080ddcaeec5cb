"""A head of two structures that no flip or rotation maps onto each other, and a network that knows them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch

LEFT, RIGHT = 17, 53  # ids of the structures
TISSUE, DARK, BRIGHT = 500.0, 250.0, 1000.0
# Centers in mm, RAS, and radius: left, dark, low and back; right, bright, high and front.
STRUCTURES = ((LEFT, DARK, (-11.0, -8.0, -6.0), 7.0), (RIGHT, BRIGHT, (12.0, 9.0, 7.0), 7.0))
CHANNELS, LEFT_INDEX, RIGHT_INDEX, TISSUE_INDEX = 36, 12, 26, 32


def make_head(shape: tuple[int, int, int], affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image (float32) and label ids (uint8) of `shape`, sampled at the voxel centers of a grid."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    image, labels = np.full(shape, TISSUE, dtype=np.float32), np.zeros(shape, dtype=np.uint8)
    for label, intensity, center, radius in STRUCTURES:
        inside = np.linalg.norm(points - center, axis=-1) <= radius
        image[inside], labels[inside] = intensity, label
    image[0, 0, 0] = 0  # air: the gray scale begins at the smallest value
    return image, labels


def centered_affine(shape: tuple[int, int, int], matrix: np.ndarray) -> np.ndarray:
    """Affine with the directions and spacings of `matrix` (3, 3) whose grid is centered near the origin."""
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = -matrix @ (np.asarray(shape) // 2)
    return affine


def save_head(path: Path, shape: tuple[int, int, int], matrix: np.ndarray) -> np.ndarray:
    """Write a phantom as an image file; returns its label ids."""
    affine = centered_affine(shape, matrix)
    image, labels = make_head(shape, affine)
    kind = nib.MGHImage if path.suffix in (".mgz", ".mgh") else nib.Nifti1Image
    nib.save(kind(image, affine), path)
    return labels


class IntensityNetwork(torch.nn.Module):
    """Names the structures of the phantom by their gray values; between two of them lies only that of tissue."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = torch.nn.Parameter(torch.tensor([0.0, DARK, BRIGHT, TISSUE]) / BRIGHT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, 36, H, W, D) of images (B, 1, H, W, D), 0..1."""
        # Not less, because `exp` of what is no normal float32 takes 13 times as long.
        logits = torch.full((x.shape[0], CHANNELS, *x.shape[2:]), -80.0)
        for index, level in zip((0, LEFT_INDEX, RIGHT_INDEX, TISSUE_INDEX), self.levels, strict=True):
            logits[:, index] = -80 * (x[:, 0] - level).abs()
        return logits


class HungryNetwork(IntensityNetwork):
    """Asks for more memory than there is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raise what PyTorch raises when memory runs out."""
        return torch.empty(1 << 50, device=x.device)


def save_label_maps(folder: Path, count: int = 3) -> None:
    """Write FreeSurfer ids of heads of boxes, map_0.nii.gz and so on: skin, white matter, a thalamus on each side."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        ids = np.zeros((32, 36, 34), np.uint16)
        ids[2:30, 2:34, 2:32] = 507
        ids[6:16, 6:30, 6:28], ids[16:26, 6:30, 6:28] = 2, 41
        ids[10:14, 14:22, 12:20], ids[18:22, 14:22, 12:20] = 10, 49
        nib.save(nib.Nifti1Image(ids, np.eye(4)), folder / f"map_{number}.nii.gz")
