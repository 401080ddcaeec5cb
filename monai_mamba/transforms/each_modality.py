"""Random intensities of one modality that say nothing about those of another."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable


class RandEachModalityd(Randomizable, MapTransform):
    """Apply a random transform to every channel by itself, so that each draws its own numbers.

    Voxels that are 0 (air around a brain, missing modalities) stay 0, as `MissingModalityFill` needs it.

    Args:
        keys: images `(C, H, W, D)`.
        transform: takes and returns an image `(1, H, W, D)`, such as a `Compose` of MONAI's random intensities.
        allow_missing_keys: do not raise if a key is missing.
    """

    def __init__(self, keys: KeysCollection, transform: Callable, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.transform = transform

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandEachModalityd:
        """Seed the transform, too."""
        super().set_random_state(seed, state)
        if isinstance(self.transform, Randomizable):
            self.transform.set_random_state(seed=int(self.R.randint(2**31)))
        return self

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return the data with the changed images."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            inside = image.as_subclass(torch.Tensor) != 0
            channels = [self.transform(channel) if channel.any() else channel for channel in image.split(1)]
            result[key] = torch.cat(channels) * inside
        return result
