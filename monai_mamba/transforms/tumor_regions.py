"""From tumor labels to the regions that a network is trained with, and from its output back to labels."""

from __future__ import annotations

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor

from monai_mamba.data.label_values import name_of, with_label_ids
from monai_mamba.errors import InputError
from monai_mamba.grids import Grid, bounding_box, box_corners, map_box, one_affine, sample_part, voxel_map, voxel_volume
from monai_mamba.labels import RegionTable, fitting_conventions
from monai_mamba.transforms.each_entry import EachEntryTransform


class ToTumorRegionsd(EachEntryTransform):
    """Turn label maps `(1, H, W, D)` into masks of the regions TC, WT and ET.

    MONAI's `ConvertToMultiChannelBasedOnBratsClassesd` gives the same channels without checking the labels, for which
    the conventions differ.

    Args:
        keys: the label maps.
        label_convention: what the labels mean, see `RegionTable`.
    """

    def __init__(self, keys: KeysCollection, label_convention: str) -> None:
        super().__init__(keys)
        self.table = RegionTable.load(label_convention)

    def apply(self, label: torch.Tensor) -> torch.Tensor:
        """Masks `(3, H, W, D)`, uint8.

        Raises:
            InputError: the map holds something else than the labels of the convention.
        """
        ids = with_label_ids(label)[0].numpy()
        self._check(ids, label)
        masks = torch.from_numpy(self.table.to_regions(ids))
        return MetaTensor(masks, meta=label.meta) if isinstance(label, MetaTensor) else masks

    def _check(self, ids: np.ndarray, label: torch.Tensor) -> None:
        found = np.unique(ids)
        known = set(self.table.labels.ids)
        unknown = [value for value in found.tolist() if value not in known]
        if not unknown:
            return
        fitting = fitting_conventions(found.tolist())
        advice = (
            f"They are the labels of {' or '.join(fitting)}: set --label_convention."
            if fitting
            else "Is this the tumor label map of the case? Labels of other structures have to be set to 0 first."
        )
        values = ", ".join(map(str, found[:10]))
        raise InputError(
            f"{name_of(label)}: its values are {values}; expected {', '.join(map(str, sorted(known)))} "
            f"(--label_convention {self.table.convention}). {advice}"
        )


class RestoreTumorLabelsd(EachEntryTransform):
    """Resample probabilities of the regions to the input's own grid, and write labels where they exceed one half.

    Takes `MetaTensor`s `(3, H, W, D)`, 0..1, with their own affine; the input's grid is read from `original_affine` and
    `spatial_shape` in their meta data. The smaller region wins, so ET lies inside TC inside WT (`RegionTable.to_ids`).
    Probabilities are resampled, not labels; where the two grids coincide the result is exact.

    Args:
        keys: what is transformed.
        label_convention: see `RegionTable`.
        min_enhancing_ml: enhancing tumor of less than this in all becomes necrotic core, because a few voxels where
            there is none make DSC 0 by BraTS's rule. 0 leaves all. Rule: Isensee et al., arXiv 2011.00848; their
            program for BraTS 2020 takes 200 voxels of 1 mm3.
    """

    def __init__(self, keys: KeysCollection, label_convention: str, min_enhancing_ml: float = 0.2) -> None:
        super().__init__(keys)
        self.table = RegionTable.load(label_convention)
        self.min_enhancing_ml = min_enhancing_ml

    def apply(self, probabilities: MetaTensor) -> MetaTensor:
        """Label map `(1, H, W, D)`, uint8, of the input's shape and affine.

        Raises:
            InputError: the number of channels is not that of the regions.
        """
        if probabilities.shape[0] != len(self.table):
            raise InputError(
                f"The network has {probabilities.shape[0]} output channels, but the regions are "
                f"{', '.join(self.table.names)}. Use a network with 3 output channels."
            )
        affine, source = one_affine(probabilities.affine), Grid.of(probabilities.meta)
        ids = np.zeros(source.shape, dtype=np.uint8)
        regions = probabilities.as_tensor().cpu()
        # One voxel more than where a region is likely, because linear interpolation reaches that far.
        part = bounding_box((regions > 0.5).any(dim=0), margin=1)
        box = part and map_box(voxel_map(affine, source.affine), *box_corners(part), source.shape)
        if box is not None:
            to_regions = voxel_map(source.affine, affine)
            masks = [sample_part(region, part, to_regions, box) > 0.5 for region in regions]
            core, enhancing = (masks[self.table.names.index(name)] for name in ("TC", "ET"))
            if np.count_nonzero(enhancing) * voxel_volume(source.affine) < 1000 * self.min_enhancing_ml:
                core |= enhancing
                enhancing[:] = False
            ids[box] = self.table.to_ids(masks)
        meta = {**probabilities.meta, "affine": torch.from_numpy(source.affine)}
        return MetaTensor(torch.from_numpy(ids)[None], meta=meta)
