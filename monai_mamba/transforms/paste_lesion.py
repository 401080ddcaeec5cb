"""Tumors of one case in the brain of another: more tumors in more places than a small data set has."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.networks.layers import GaussianFilter
from monai.transforms import MapTransform, RandomizableTransform

from monai_mamba.grids import bounding_box

MARGIN = 3  # voxels around a lesion over which it fades
FADING = 1.0  # voxels, standard deviation of the Gaussian that its border fades with
MIN_INSIDE = 0.9  # of the voxels of a lesion that must lie in the brain
ATTEMPTS = 20  # places that are tried


class CutLesiond(MapTransform):
    """Cut the box around the tumor out of a case, with intensities on the scale of its healthy brain.

    Args:
        keys: images `(C, H, W, D)`, 0 outside the brain. The entry `label` has masks of the regions `(R, H, W, D)`.
    """

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return the data with plain tensors, float16 and uint8, cut to the tumor and 3 voxels around it.

        In healthy brain every channel has mean 0 and standard deviation 1; without a tumor the box is one voxel.
        """
        result = dict(data)
        label = result["label"].as_subclass(torch.Tensor)
        box = bounding_box((label > 0).any(dim=0), MARGIN) or (slice(0, 1),) * 3
        for key in self.key_iterator(result):
            image = result[key].as_subclass(torch.Tensor).float()
            mean, std = _healthy(image, label)
            part = image[(slice(None), *box)]
            result[key] = torch.where(part != 0, (part - mean) / std, 0).half()
        result["label"] = label[(slice(None), *box)].to(torch.uint8)
        return result


class RandPasteLesiond(RandomizableTransform, MapTransform):
    """Paste the tumor of another case into a brain, away from the tumor that is there.

    The tumor is flipped at random along each axis and placed where at least 0.9 of it lie in brain without a tumor; of
    20 places that are tried none may do, and then the case stays as it is. In each channel, the healthy brain around
    both decides the scale: a tumor as much brighter than healthy brain as it was, in its standard deviations. Borders
    fade over about a voxel. A tumor that lacks a modality of the case is not pasted; a channel that the case lacks
    stays 0.

    Args:
        keys: images `(C, H, W, D)`, 0 outside the brain. The entry `label` has masks of the regions `(R, H, W, D)`.
        donors: tumors, items as `CutLesiond` makes them, under the same keys.
        prob: probability to paste one.
    """

    def __init__(
        self, keys: KeysCollection, donors: Sequence[Mapping[Hashable, torch.Tensor]], prob: float = 0.5
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.donors = donors

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return the data with the changed images and masks, of the same types."""
        result = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return result
        donor = self.donors[self.R.randint(len(self.donors))]
        axes = [axis for axis in (1, 2, 3) if self.R.rand() < 0.5]
        regions = donor["label"].flip(axes) > 0
        lesion = regions.any(dim=0)
        image, label = (result[name].as_subclass(torch.Tensor) for name in (self.first_key(result), "label"))
        box = self._place(lesion, (image != 0).any(dim=0) & ~(label > 0).any(dim=0))
        if box is None:
            return result
        here = (slice(None), *box)
        for key in self.key_iterator(result):
            image = result[key].as_subclass(torch.Tensor)
            scan = donor[key].flip(axes).float()
            there, shown = (volume.flatten(1).any(dim=1) for volume in (image, scan))
            if (there & ~shown).any():
                return dict(data)
            mean, std = _healthy(image.float(), label)
            part = image[here].float()
            weight = GaussianFilter(3, FADING)(lesion.float()[None, None])[0]
            weight = torch.where(lesion, weight.clamp(min=0.5), weight) * (scan != 0) * (part != 0)
            changed = result[key].clone()
            changed[here] = (part + weight * (scan * std + mean - part)).to(changed.dtype)
            result[key] = changed
        masks = result["label"].clone()
        masks[here] = torch.maximum(masks[here], (regions & (image[here] != 0).any(dim=0)).to(masks.dtype))
        result["label"] = masks
        return result

    def _place(self, lesion: torch.Tensor, free: torch.Tensor) -> tuple[slice, ...] | None:
        """A box for a lesion in what is free of tumors, both masks `(H, W, D)`; None if none was found."""
        room = [size - own for size, own in zip(free.shape, lesion.shape, strict=True)]
        if min(room) < 0 or not lesion.any():
            return None
        for _ in range(ATTEMPTS):
            start = [int(self.R.randint(most + 1)) for most in room]
            box = tuple(slice(first, first + size) for first, size in zip(start, lesion.shape, strict=True))
            if (free[box] & lesion).sum() >= MIN_INSIDE * lesion.sum():
                return box
        return None


def _healthy(image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation `(C, 1, 1, 1)` of each channel in the brain outside tumors; 0 and 1 without any."""
    healthy = ~(label > 0).any(dim=0)
    values = [channel[healthy & (channel != 0)] for channel in image]
    pairs = [(float(v.mean()), float(v.std())) if len(v) > 1 else (0.0, 1.0) for v in values]
    mean, std = (torch.tensor(numbers)[:, None, None, None] for numbers in np.transpose(pairs))
    return mean.float(), std.float().clamp(min=1e-3)
