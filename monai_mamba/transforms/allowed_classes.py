"""Training labels of maps that do not know every class."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from monai_mamba.errors import InputError
from monai_mamba.labels import LabelTable
from monai_mamba.transforms.to_training_labels import read_merges


class ToAllowedClassesd(MapTransform):
    """Turn class indices into the set of classes that a voxel may have, for `PartialLabelDiceCELoss`.

    A map in which a structure is missing calls its voxels something else: without hypointensities they are white
    matter. `freesurfer_merge.tsv` says what. There, both are right. The entry `missing` of the data lists the ids that
    the map does not know, separated by commas.

    Args:
        keys: entries with class indices ``(1, H, W, D)``.
        table: the classes, at most 63.

    Raises:
        InputError: a missing id is no class, or nothing is known of what it is called instead.
    """

    def __init__(self, keys: KeysCollection, table: LabelTable) -> None:
        super().__init__(keys)
        self.table = table
        self.others = {first: into for first, _, into in read_merges()}

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return the data with labels int64 ``(1, H, W, D)``, bit k set where class k is allowed."""
        result = dict(data)
        allowed = self.allowed(str(result.get("missing", "")))
        for key in self.key_iterator(result):
            result[key] = allowed[result[key].long()]
        return result

    def allowed(self, missing: str) -> torch.Tensor:
        """For each class, the bits of the classes that a voxel with its label may have: int64 ``(len(table),)``."""
        index = self.table.index_of_id
        bits = [1 << k for k in range(len(self.table))]
        for text in filter(None, missing.split(",")):
            if not text.isdigit() or int(text) not in index or int(text) not in self.others:
                raise InputError(
                    f"The missing id {text!r}: expected ids of classes that freesurfer_merge.tsv can call something "
                    f"else, {', '.join(str(known) for known in self.others if known in index)}."
                )
            for other in self.others[int(text)]:
                bits[index[other]] |= 1 << index[int(text)]
        return torch.tensor(bits)
