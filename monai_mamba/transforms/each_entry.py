"""What dictionary transforms share that treat each of their entries by itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping

import torch
from monai.transforms import MapTransform


class EachEntryTransform(MapTransform):
    """Base of transforms that do the same with each of their entries, such as the images of an item.

    Args:
        keys: the entries.
    """

    @abstractmethod
    def apply(self, entry: torch.Tensor) -> torch.Tensor:
        """What takes the place of an entry."""

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return a copy of the data with the new entries; see `apply` for their shapes and for the errors."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.apply(result[key])
        return result
