"""The results of a brain tumor case as files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from monai_mamba.handlers.result_saver import ResultSaver
from monai_mamba.labels import RegionTable


class TumorResultSaver(ResultSaver):
    """`ResultSaver` for cases of several modalities: the volumes are those of the regions and of the labels.

    * `<output>_volumes.tsv`: `name`, `labels` (ids that make it up), `voxels`, `mm3` (voxels times voxel volume).

    Args:
        label_convention: see `RegionTable`.
    """

    def __init__(self, label_convention: str) -> None:
        super().__init__(label_convention)
        self.regions = RegionTable.load(label_convention)

    def _volume_table(self, counts: np.ndarray, voxel_mm3: float, meta: Mapping[str, Any]) -> str:
        rows = [(f"{region.title} ({region.name})", self.regions.ids_of(region)) for region in self.regions.regions]
        rows += [(entry.name, (entry.id,)) for entry in self.table.structures]
        lines = ["name\tlabels\tvoxels\tmm3"]
        for name, ids in rows:
            voxels = int(counts[list(ids)].sum())
            lines.append(f"{name}\t{'+'.join(map(str, ids))}\t{voxels}\t{voxels * voxel_mm3:.1f}")
        return "\n".join(lines) + "\n"
