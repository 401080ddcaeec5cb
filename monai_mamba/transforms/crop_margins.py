"""Tighter crops around a structure, as an augmentation."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, SpatialCrop

from monai_mamba.grids import bounding_box


class RandCropMarginsd(Randomizable, MapTransform):
    """Cuts random parts of the margins around the labeled voxels away, on each of the six sides by itself.

    A crop from a data set then has margins as narrow as a hasty box, or as wide as it came with.

    Args:
        keys: entries `(C, H, W, D)` on one grid. Where the entry `label` is not 0, nothing is cut away.
        keep: voxels of margin that stay on each side, where there are as many.
        prob: probability that a case is cut.
    """

    def __init__(self, keys: KeysCollection, keep: int = 2, prob: float = 0.5) -> None:
        MapTransform.__init__(self, keys)
        self.keep = keep
        self.prob = prob

    def randomize(self, margins: np.ndarray) -> np.ndarray:
        """Voxels to cut away, `(2, 3)`, at most what the margins `(2, 3)` hold beyond `keep`."""
        if self.R.rand() >= self.prob:
            return np.zeros_like(margins)
        return self.R.randint(0, np.maximum(margins - self.keep, 0) + 1)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, Any]:
        """Return the data with the entries cut alike."""
        result = dict(data)
        label = result["label"]
        marked = bounding_box(label[0] != 0)
        if marked is None:
            return result
        shape = label.shape[1:]
        margins = [(part.start, size - part.stop) for part, size in zip(marked, shape, strict=True)]
        low, high = self.randomize(np.transpose(margins))
        crop = SpatialCrop(roi_start=low, roi_end=np.array(shape) - high)
        for key in self.key_iterator(result):
            result[key] = crop(result[key])
        return result
