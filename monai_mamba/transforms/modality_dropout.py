"""Training without some of the modalities, so that a network can do without them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform


class RandDropModalitiesd(RandomizableTransform, MapTransform):
    """Set randomly chosen modalities to 0, and clear what random intensities have left outside the brain.

    Of the modalities that a case has, every non-empty subset is equally likely to be kept. A channel counts as missing
    where it is 0 throughout, as for `LoadModalitiesd` and `MissingModalityFill`; noise added to such a channel, or to
    the air around a brain, is removed again with the help of the image before.

    Args:
        keys: images `(C, H, W, D)`.
        prob: probability to draw a subset; else all modalities are kept.
        before_key: entry with the same image before random intensities, `(C, H, W, D)`; it is removed. None if there
            were none.
        allow_missing_keys: do not raise if a key is missing.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.5,
        before_key: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.before_key = before_key

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return the data with the changed images."""
        result = dict(data)
        before = result.pop(self.before_key) if self.before_key else None
        for key in self.key_iterator(result):
            image = result[key]
            inside = (image if before is None else before).as_subclass(torch.Tensor) != 0
            keep = self._kept(inside.flatten(1).any(dim=1))
            result[key] = image * (inside & keep[:, None, None, None])
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
