"""Training without some of the modalities, so that a network can do without them."""

from __future__ import annotations

import torch
from monai.config import KeysCollection
from monai.transforms import RandomizableTransform

from monai_mamba.transforms.each_entry import EachEntryTransform


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
