"""Modalities that change at random, each by itself: their intensities, and whether they are there at all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import Randomizable, RandomizableTransform

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


class RandDropModalitiesd(RandomizableTransform, EachEntryTransform):
    """Set randomly chosen modalities to 0.

    Of the modalities that a case has, every non-empty subset is equally likely to be kept. A channel counts as missing
    where it is 0 throughout, as for `LoadModalitiesd` and `MissingModalityFill`.

    Args:
        keys: images `(C, H, W, D)`.
        prob: probability to draw a subset; else all modalities are kept.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.5) -> None:
        EachEntryTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)

    def apply(self, image: torch.Tensor) -> torch.Tensor:
        """The image with fewer modalities."""
        keep = self._kept(image.as_subclass(torch.Tensor).flatten(1).any(dim=1))
        return image * keep[:, None, None, None]

    def _kept(self, present: torch.Tensor) -> torch.Tensor:
        """Which channels stay, `(C,)`."""
        self.randomize(None)
        channels = torch.nonzero(present).flatten().tolist()
        if not self._do_transform or not channels:
            return present
        subset = self.R.randint(1, 2 ** len(channels))  # its bits are the channels to keep; never none of them
        keep = torch.zeros_like(present)
        keep[[channel for bit, channel in enumerate(channels) if subset >> bit & 1]] = True
        return keep
