"""The nested regions of a brain tumor, and the label maps of the BraTS challenges that they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monai_mamba.errors import InputError
from monai_mamba.files import read_tsv
from monai_mamba.labels.tables import LABEL_FOLDER, LabelTable

REGION_FILE = LABEL_FOLDER / "brats_regions.tsv"
CONVENTIONS = ("brats2023", "brats2024", "brats2021", "brats_msd")


@dataclass(frozen=True)
class TumorRegion:
    """One output channel of a network, from 0: a union of classes, by their indices in the label table."""

    index: int
    name: str
    title: str
    classes: frozenset[int]


@dataclass(frozen=True)
class RegionTable:
    """Tumor core (TC), whole tumor (WT) and enhancing tumor (ET), in MONAI's order, with the labels of one convention.

    Attributes:
        convention: name of the label table: `"brats2021"` (enhancing tumor is 4, up to BraTS 2021), `"brats2023"` (3),
            `"brats2024"` (3; 4 is the resection cavity, which belongs to no region), or `"brats_msd"` (Medical
            Segmentation Decathlon, Task01: edema is 1, necrotic core 2).
        labels: label ids and names.
        regions: the channels.
    """

    convention: str
    labels: LabelTable
    regions: tuple[TumorRegion, ...]

    @classmethod
    def load(cls, convention: str) -> RegionTable:
        """Read the tables of a label convention.

        Raises:
            InputError: there is no such convention.
        """
        if convention not in CONVENTIONS:
            raise InputError(
                f"--label_convention is '{convention}', expected one of {', '.join(CONVENTIONS)}: enhancing tumor is 4 "
                "in brats2021 and 3 in brats2023; in brats2024 4 is the resection cavity; in brats_msd (Decathlon "
                "Task01) edema is 1 and necrotic core 2."
            )
        labels = LabelTable.load(convention)
        index_of_name = {entry.name: entry.index for entry in labels}
        regions = tuple(
            TumorRegion(
                index=int(row["index"]),
                name=row["name"],
                title=row["title"],
                classes=frozenset(index_of_name[name] for name in row["classes"].split(",")),
            )
            for row in read_tsv(REGION_FILE)
        )
        return cls(convention, labels, regions)

    def __len__(self) -> int:
        return len(self.regions)

    @property
    def names(self) -> tuple[str, ...]:
        """Short name of each channel."""
        return tuple(region.name for region in self.regions)

    def ids_of(self, region: TumorRegion) -> tuple[int, ...]:
        """Label ids of a region, in ascending order."""
        return tuple(sorted(self.labels.ids[index] for index in region.classes))

    def to_regions(self, ids: np.ndarray) -> np.ndarray:
        """Label ids `(H, W, D)` to masks `(R, H, W, D)`, uint8, 0 or 1."""
        return np.stack([np.isin(ids, self.ids_of(region)) for region in self.regions]).astype(np.uint8)

    def to_ids(self, masks: Sequence[np.ndarray]) -> np.ndarray:
        """Label ids `(H, W, D)`, uint8, of a mask `(H, W, D)` for each region; ET lies inside TC inside WT.

        Larger regions are painted first and smaller ones over them, so a voxel of a smaller region belongs to the
        larger ones too, whatever their masks say, as in the region-based training of nnU-Net (Isensee et al., nnU-Net
        for Brain Tumor Segmentation, arXiv 2011.00848).
        """
        ids = np.zeros(np.shape(masks[0]), dtype=np.uint8)
        nested = sorted(self.regions, key=lambda region: -len(region.classes))
        for region, inner in zip(nested, [*nested[1:], None], strict=True):
            (own,) = region.classes - (inner.classes if inner else frozenset())
            ids[np.asarray(masks[region.index], dtype=bool)] = self.labels.ids[own]
        return ids


def fitting_conventions(ids: Sequence[int]) -> list[str]:
    """Names of the conventions that know all of these label ids."""
    return [name for name in CONVENTIONS if set(ids) <= set(LabelTable.load(name).ids)]
