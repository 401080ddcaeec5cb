"""Random windows of a head, deformed and imaged anew: what training on real and on synthetic scans shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.networks.layers import GaussianFilter
from monai.transforms import MapTransform, Randomizable
from scipy.spatial.transform import Rotation
from torch.nn import functional


class RandHeadWindow(Randomizable, MapTransform):
    """Base of transforms that draw one window of a head: where it lies, how it is deformed, how a scanner sees it.

    Args:
        keys: key of what the window is drawn from.
        roi_size: voxels of the window.
        mirror_prob: share of windows with left and right exchanged. FreeSurfer's labels are not the same on both sides.
        strip_prob: share of skull-stripped images.
        anywhere_prob: share of windows centered anywhere in the head instead of on a structure, each class equally
            often.
        elastic: factor of the elastic displacements, >= 0. With 1, their nodes move by up to 2 voxels (standard
            deviation along an axis).
        undeformed_prob: share of windows that are cut on the voxel grid. Deformed ones are interpolated and therefore
            smoother than what a network is applied to.
        center: voxel in the middle of every window, three indices that need not be whole; None draws one each time.
    """

    def __init__(
        self,
        keys: KeysCollection,
        roi_size: Sequence[int] = (96, 96, 96),
        mirror_prob: float = 0.5,
        strip_prob: float = 0.35,
        anywhere_prob: float = 0.2,
        elastic: float = 1.0,
        undeformed_prob: float = 0.0,
        center: Sequence[float] | None = None,
    ) -> None:
        MapTransform.__init__(self, keys)
        self.roi_size = tuple(roi_size)
        self.mirror_prob, self.strip_prob, self.anywhere_prob = mirror_prob, strip_prob, anywhere_prob
        self.elastic, self.undeformed_prob = elastic, undeformed_prob
        self.center = center
        self.generator: torch.Generator | None = None  # made for each window: one that is there cannot be pickled

    def positions(self, volume: torch.Tensor, classes: torch.Tensor, mirrored: bool) -> torch.Tensor:
        """Draw where the voxels of a window lie in a head: voxel coordinates, float32 ``(3, *roi_size)``.

        Args:
            volume: labels of the head ``(H, W, D)``, left-right first.
            classes: class index of each label that may occur.
            mirrored: whether left and right are exchanged.
        """
        center = self._center(volume, classes)
        if self.R.rand() < self.undeformed_prob:
            linear, field = np.eye(3), torch.zeros(3, *self.roi_size)
            center = np.floor(center) + (np.asarray(self.roi_size) - 1) % 2 / 2
        else:
            linear, field = self._linear(), self._elastic_field()
        if mirrored:
            linear[0] *= -1
        axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in self.roi_size]
        for axis in range(3):
            row = [float(v) for v in linear[axis]]
            position = field[axis].add_((row[0] * axes[0] + float(center[axis]))[:, None, None])
            position.add_((row[1] * axes[1])[:, None] + row[2] * axes[2])
        return field

    def _linear(self) -> np.ndarray:
        linear = Rotation.from_euler("XYZ", self.R.uniform(-12, 12, 3), degrees=True).as_matrix()
        shear = np.eye(3) + self.R.uniform(-0.04, 0.04, (3, 3)) * (1 - np.eye(3))
        return linear @ shear @ np.diag(self.R.uniform(0.9, 1.1) * self.R.uniform(0.95, 1.05, 3))

    def _elastic_field(self) -> torch.Tensor:
        nodes = int(self.R.choice([4, 6, 8]))
        field = torch.randn(1, 3, nodes, nodes, nodes, generator=self.generator)
        field *= self.elastic * self.R.uniform(0.3, 8.0 / nodes)
        return functional.interpolate(field, self.roi_size, mode="trilinear", align_corners=True)[0]

    def _center(self, volume: torch.Tensor, classes: torch.Tensor) -> np.ndarray:
        if self.center is not None:
            return np.asarray(self.center, dtype=float)
        if self.R.rand() < self.anywhere_prob:
            return self.R.uniform(0, 1, 3) * volume.shape
        offset = self.R.randint(0, 2, 3)
        coarse = classes[volume[offset[0] :: 2, offset[1] :: 2, offset[2] :: 2].long()]
        present = np.flatnonzero(torch.bincount(coarse.flatten())[1:]) + 1
        if not len(present):
            return np.asarray(volume.shape) / 2
        voxels = torch.nonzero(coarse == int(self.R.choice(present)))
        return 2 * voxels[self.R.randint(len(voxels))].numpy() + offset + self.R.uniform(-24, 24, 3)

    def strip(self, image: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
        """Now and then, set to 0 what lies outside a brain mask grown by up to 3 voxels."""
        if self.R.rand() >= self.strip_prob:
            return image
        keep = brain.float()[None, None]
        margin = int(self.R.randint(0, 4))
        for axis in range(3):
            kernel = [2 * margin + 1 if a == axis else 1 for a in range(3)]
            keep = functional.max_pool3d(keep, kernel, 1, [k // 2 for k in kernel])
        return image * keep[0, 0]

    def scan(self, image: torch.Tensor, blur: float) -> torch.Tensor:
        """What a scanner makes of an image: voxel size, field of the coil, noise, gamma, and first a Gaussian blur.

        Args:
            image: ``roi_size``, float32 in [0, 1].
            blur: standard deviation in voxels.
        """
        if blur > 0:
            image = GaussianFilter(3, blur, truncated=2.5)(image[None, None])[0, 0]
        image = self._resample(image[None, None])[0, 0]
        field = self.smooth_field(int(self.R.choice([2, 3, 4])), self.R.uniform(0, 0.25)) + self._bowl()
        image = image * torch.exp(field)
        image += self.R.uniform(0, 0.04) * torch.randn(self.roi_size, generator=self.generator)
        return image.clamp_(0, 1).pow_(float(np.exp(self.R.normal(0, 0.2))))

    def smooth_field(self, nodes: int, std: float) -> torch.Tensor:
        """A smooth random field ``roi_size`` with `nodes` nodes along each axis and this standard deviation at them."""
        field = torch.randn(1, 1, nodes, nodes, nodes, generator=self.generator) * std
        return functional.interpolate(field, self.roi_size, mode="trilinear", align_corners=True)[0, 0]

    def _bowl(self) -> torch.Tensor:
        """Logarithm of a coil's field: one bright or dark center, changing with the square of the distance."""
        axes = [torch.linspace(-1, 1, n) - float(self.R.uniform(-0.5, 0.5)) for n in self.roi_size]
        square = axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2
        return (square - square.mean()) * self.R.uniform(-0.3, 0.15)

    def _resample(self, image: torch.Tensor) -> torch.Tensor:
        """Some images lose resolution, the same on all axes or (thick slices) on one."""
        kind = self.R.rand()
        if kind < 0.6:
            return image
        factors = np.full(3, self.R.uniform(1.0, 1.5))
        if kind > 0.85:
            factors = np.ones(3)
            factors[self.R.randint(3)] = self.R.uniform(1.0, 3.0)
        size = [max(2, round(n / f)) for n, f in zip(self.roi_size, factors, strict=True)]
        small = functional.interpolate(image, size, mode="trilinear", align_corners=False)
        return functional.interpolate(small, self.roi_size, mode="trilinear", align_corners=False)


def nearest(volume: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Values of `volume` ``(H, W, D)`` at the voxels nearest to `positions` ``(3, ...)``, 0 outside; int64."""
    flat = torch.zeros(positions.shape[1:], dtype=torch.long)
    inside = torch.ones(positions.shape[1:], dtype=torch.bool)
    for position, size in zip(positions, volume.shape, strict=True):
        index = position.round().long()
        inside &= (index >= 0) & (index < size)
        flat.mul_(size).add_(index)
    flat.masked_fill_(~inside, 0)
    return volume.flatten()[flat].long().masked_fill_(~inside, 0)


def linear(volume: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Values of `volume` ``(H, W, D)`` at `positions` ``(3, ...)``, trilinear, 0 outside; float32."""
    size = torch.tensor(volume.shape, dtype=torch.float32)
    grid = positions.movedim(0, -1) * (2 / (size - 1)) - 1
    return functional.grid_sample(volume[None, None].float(), grid.flip(-1)[None], align_corners=True)[0, 0]
