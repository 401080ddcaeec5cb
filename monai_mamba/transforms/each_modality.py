"""Random intensities of one modality that say nothing about those of another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import Randomizable

from monai_mamba.transforms.each_entry import EachEntryTransform


class RandEachModalityd(Randomizable, EachEntryTransform):
    """Apply a random transform to every channel by itself, so that each draws its own numbers.

    Voxels that are 0 (air around a brain, missing modalities) stay 0, as `MissingModalityFill` needs it.

    Args:
        keys: images `(C, H, W, D)`.
        transform: takes and returns an image `(1, H, W, D)`, such as a `Compose` of MONAI's random intensities.
    """

    def __init__(self, keys: KeysCollection, transform: Callable) -> None:
        EachEntryTransform.__init__(self, keys)
        self.transform = transform

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandEachModalityd:
        """Seed the transform, too."""
        super().set_random_state(seed, state)
        if isinstance(self.transform, Randomizable):
            self.transform.set_random_state(seed=int(self.R.randint(2**31)))
        return self

    def apply(self, image: torch.Tensor) -> torch.Tensor:
        """The changed image."""
        inside = image.as_subclass(torch.Tensor) != 0
        channels = [self.transform(channel) if channel.any() else channel for channel in image.split(1)]
        return torch.cat(channels) * inside
