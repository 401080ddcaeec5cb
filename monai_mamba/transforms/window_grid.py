"""Training windows at fixed places of a scan."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import product

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, SpatialCrop, SpatialPad
from monai.transforms.traits import MultiSampleTrait
from monai.utils import ensure_tuple_rep


class WindowGridd(MapTransform, MultiSampleTrait):
    """Cuts each case into `positions` windows along every axis, evenly spaced from border to border.

    The MedSegMamba recipe (arXiv 2409.08307) takes 3 positions per axis, hence 27 windows of one scan: windows of 96
    voxels then cover every voxel of a head up to 288 mm. Smaller scans are padded with zeros to one window. The first
    axis varies slowest.

    Args:
        keys: entries `(C, H, W, D)` on one grid.
        roi_size: size of a window in voxels, one number or one per axis.
        positions: windows along each axis, >= 1; 1 takes the middle.
        allow_missing_keys: whether to leave out keys that are absent.

    Raises:
        ValueError: there are no positions, or (when called) the entries differ in size.
    """

    def __init__(
        self,
        keys: KeysCollection,
        roi_size: Sequence[int] | int,
        positions: int = 3,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if positions < 1:
            raise ValueError(f"positions must be at least 1, got {positions}.")
        self.roi_size = ensure_tuple_rep(roi_size, 3)
        self.positions = positions
        self.pad = SpatialPad(self.roi_size)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> list[dict[Hashable, torch.Tensor]]:
        """Cut one case.

        Args:
            data: the case; entries other than `keys` are copied into every window.

        Returns:
            `positions ** 3` cases with entries `(C, *roi_size)`; their affines are those of the windows.
        """
        padded = {key: self.pad(data[key]) for key in self.key_iterator(dict(data))}
        sizes = {tuple(entry.shape[1:]) for entry in padded.values()}
        if len(sizes) != 1:
            raise ValueError(f"The entries {list(padded)} must share one grid, got the sizes {sorted(sizes)}.")
        starts = [self._starts(size, roi) for size, roi in zip(sizes.pop(), self.roi_size, strict=True)]
        windows = []
        for corner in product(*starts):
            crop = SpatialCrop(roi_start=corner, roi_end=np.add(corner, self.roi_size))
            windows.append({**data, **{key: crop(entry) for key, entry in padded.items()}})
        return windows

    def _starts(self, size: int, roi: int) -> list[int]:
        if self.positions == 1:
            return [(size - roi) // 2]
        return np.linspace(0, size - roi, self.positions).round().astype(int).tolist()
