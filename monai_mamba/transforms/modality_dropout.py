"""Training without some of the modalities, so that a network can do without them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform


class RandDropModalitiesd(RandomizableTransform, MapTransform):
    """Set randomly chosen modalities to 0.

    Of the modalities that a case has, every non-empty subset is equally likely to be kept. A channel counts as missing
    where it is 0 throughout, as for `LoadModalitiesd` and `MissingModalityFill`.

    Args:
        keys: images `(C, H, W, D)`.
        prob: probability to draw a subset; else all modalities are kept.
        allow_missing_keys: do not raise if a key is missing.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.5, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return the data with the changed images."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            keep = self._kept(image.as_subclass(torch.Tensor).flatten(1).any(dim=1))
            result[key] = image * keep[:, None, None, None]
        return result

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
