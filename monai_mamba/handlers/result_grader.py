"""The grade of a result for MONAI Label, whose server writes no table of volumes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from monai_mamba.data.quality import QualityLimits
from monai_mamba.files import parse_tsv
from monai_mamba.handlers.result_saver import ResultSaver

RESULT = "result"  # what the server answers besides the label map


class GradeResultd(MapTransform):
    """Add `quality` (`pass`, `look` or `fail`) and `quality_reason` to the answer of the server, and warn in its log.

    Args:
        keys: the label map, `(1, H, W, D)`, as `RestoreLabelsd` or `RestoreTumorLabelsd` leaves it.
        saver: makes the table of volumes that is graded.
        limits: by which; None does not grade.
    """

    def __init__(self, keys: KeysCollection, saver: ResultSaver, limits: QualityLimits | None) -> None:
        super().__init__(keys)
        self.saver = saver
        self.limits = limits

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A copy of the data with the grade."""
        graded = dict(data)
        for key in self.key_iterator(graded) if self.limits else ():
            quality = self.limits.rate_rows(parse_tsv(self.saver.volume_table(graded[key]).splitlines()))
            quality.log(graded[key].meta["filename_or_obj"])
            graded[RESULT] = {**graded.get(RESULT, {}), "quality": quality.grade, "quality_reason": quality.reason}
        return graded
