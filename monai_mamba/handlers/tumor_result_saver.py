"""The results of a brain tumor case as files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from monai_mamba.files import MISSING, table_text
from monai_mamba.handlers.result_saver import ResultSaver
from monai_mamba.labels import RegionTable


class TumorResultSaver(ResultSaver):
    """`ResultSaver` for cases of several modalities: the volumes are those of the regions and of the labels.

    * `<output>_volumes.tsv`: `name`, `labels` (ids that make it up), `voxels`, `mm3` (voxels times voxel volume),
      `modalities` (what was there of the case, such as `FLAIR+T2`) and `doubts` (see `find_doubts`), both the same in
      each row.

    Args:
        label_convention: see `RegionTable`.
        settings: see `ResultSaver`.
    """

    def __init__(self, label_convention: str, settings: str | None = None) -> None:
        super().__init__(label_convention, settings=settings)
        self.regions = RegionTable.load(label_convention)

    def _volume_table(self, counts: np.ndarray, voxel_mm3: float, meta: Mapping[str, Any]) -> str:
        named = [(f"{region.title} ({region.name})", self.regions.ids_of(region)) for region in self.regions.regions]
        named += [(entry.name, (entry.id,)) for entry in self.table.structures]
        rows = []
        for name, ids in named:
            voxels = int(counts[list(ids)].sum())
            cells = [name, "+".join(map(str, ids)), voxels, f"{voxels * voxel_mm3:.1f}"]
            rows.append([*cells, meta["modalities"], meta["doubts"] or MISSING])
        return table_text(["name", "labels", "voxels", "mm3", "modalities", "doubts"], rows)
