"""FreeSurfer label maps to the class indices that a network is trained with, or to sets of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy import ndimage

from monai_mamba.data.label_values import check_sides, name_of, with_label_ids
from monai_mamba.errors import InputError
from monai_mamba.files import read_tsv
from monai_mamba.grids import bounding_box
from monai_mamba.labels import LABEL_FOLDER, LabelTable, label_tables, without_side
from monai_mamba.transforms.each_entry import EachEntryTransform

MERGE_TABLE = LABEL_FOLDER / "freesurfer_merge.tsv"
SEVERAL = 3  # ids up to 31 without a class: FreeSurfer's own maps of one side may hold one, such as a lesion
SEARCH_MARGIN = 10  # voxels around a structure without sides in which its nearest neighbors are looked for


class ToTrainingLabelsd(EachEntryTransform):
    """Turn label ids into class indices.

    Ids of the table become their index. Of the others, those in `freesurfer_merge.tsv` are merged first: cortical
    parcels (`aparc+aseg`) into the cortex of their side, the corpus callosum (which FreeSurfer gives no side) voxel by
    voxel into the nearer cerebral white matter, and white-matter hypointensities likewise where the table has no such
    class. Everything else is background.

    Args:
        keys: label maps `(1, H, W, D)` of any type, see `with_label_ids`.
        table: the classes, or the name of a label table of the package.
    """

    def __init__(self, keys: KeysCollection, table: LabelTable | str) -> None:
        super().__init__(keys)
        self.table = LabelTable.load(table)
        self._merges = read_merges()

    def apply(self, label: torch.Tensor | np.ndarray) -> torch.Tensor:
        """Class indices `(1, H, W, D)`, uint8, a `MetaTensor` with the same affine if `label` is one.

        Raises:
            InputError: values that are no label ids, or numbers of segments; or nothing belongs to the table; or left
                and right are exchanged.
        """
        ids = with_label_ids(label).numpy()
        found = np.unique(ids)
        self._refuse_segment_numbers(found, name_of(label))
        for first, last, into in self._merges:
            self._merge(ids[0], first, last, into)
        lookup = np.zeros(int(ids.max()) + 1, dtype=np.uint8)
        for entry in self.table:
            if entry.id < len(lookup):
                lookup[entry.id] = entry.index
        indices = torch.from_numpy(lookup[ids])
        if not indices.any():
            problem = f"{name_of(label)}: none of its labels ({', '.join(map(str, found[:20]))}) is a class to train."
            first, last = (f"{entry.id} ({entry.name})" for entry in (self.table.entries[1], self.table.entries[-1]))
            if table := self._table_without_sides(ids):
                raise InputError(
                    f"{problem} They are ids of the label table {table}, which have no side. Expected ids with "
                    f"sides, from {first} to {last}."
                )
            raise InputError(
                f"{problem} Expected ids such as {last}; the structures of a whole head are in FreeSurfer's aseg or "
                "aparc+aseg."
            )
        indices = MetaTensor(indices, meta=label.meta) if isinstance(label, MetaTensor) else indices
        check_sides(indices, self.table, name_of(label))
        return indices

    def _refuse_segment_numbers(self, found: np.ndarray, name: str) -> None:
        """Refuse 1, 2, 3, ... in the order of the table, as 3D Slicer numbers segments, where its ids have gaps."""
        unknown = np.setdiff1d(found, self.table.ids)
        if max(self.table.ids) >= len(self.table) > found.max() and len(unknown) >= SEVERAL:
            raise InputError(
                f"{name}: its labels {', '.join(map(str, found))} look like numbers of segments in 3D Slicer; expected "
                "ids of FreeSurfer. Convert them first, see docs/monai_label.md."
            )

    def _table_without_sides(self, ids: np.ndarray) -> str | None:
        """Name of the table whose ids these are, if it has the structures of this table without their sides."""
        names = {without_side(name) for name in self.table.names}
        for name in label_tables():
            table = LabelTable.load(name)
            if set(table.names) == names != set(self.table.names) and np.isin(ids, table.ids[1:]).any():
                return name
        return None

    def _merge(self, ids: np.ndarray, first: int, last: int, into: list[int]) -> None:
        """Replace, in place, the ids `first..last` that are no classes by the nearest of the labels `into`."""
        members = (ids >= first) & (ids <= last) & ~np.isin(ids, self.table.ids)
        if not members.any():
            return
        if len(into) == 1:
            ids[members] = into[0]
            return
        box = bounding_box(members, SEARCH_MARGIN)
        neighbors = np.isin(ids[box], into)
        if neighbors.any():
            nearest = ndimage.distance_transform_edt(~neighbors, return_distances=False, return_indices=True)
            ids[box][members[box]] = ids[box][tuple(nearest)][members[box]]


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


def read_merges() -> list[tuple[int, int, list[int]]]:
    """Rows of `freesurfer_merge.tsv`: what the ids `first` to `last` are called where they are not told apart."""
    rows = read_tsv(MERGE_TABLE)
    return [(int(row["first"]), int(row["last"]), [int(label) for label in row["into"].split(",")]) for row in rows]
