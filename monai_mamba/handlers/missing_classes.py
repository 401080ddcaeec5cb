"""Classes that a network never predicts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from monai_mamba.labels import LabelTable

logger = logging.getLogger(__name__)


class MissingClasses:
    """Warns of classes that occur in the reference but are predicted in no voxel of a whole validation.

    A network that gives up rare classes loses little in mean Dice, so the mean does not show it; published comparisons
    hinge on it (MedSegMamba, arXiv 2409.08307, hippocampal subfields: networks that learned 20 and 24 of 25 classes).
    The number of lost classes goes into the metrics of the engine, as `val_classes_lost`.

    Args:
        table: the classes.
        output_transform: takes `(y_pred, y)`, lists of class indices `(1, H, W, D)`, out of `engine.state.output`, such
            as `from_engine(["pred", "label"])`.
    """

    def __init__(self, table: LabelTable, output_transform: Callable) -> None:
        self.table = table
        self.output_transform = output_transform
        self._voxels = torch.zeros(2, len(table), dtype=torch.int64)

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self._voxels.zero_())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._count)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)

    def _count(self, engine: Engine) -> None:
        for row, maps in enumerate(self.output_transform(engine.state.output)):
            for labels in maps:
                found = torch.as_tensor(labels).long().flatten().cpu()
                self._voxels[row] += torch.bincount(found, minlength=len(self.table))

    def _report(self, engine: Engine) -> None:
        predicted, expected = idist.all_reduce(self._voxels.to(idist.device())).cpu()
        lost = lost_classes(predicted, expected)
        engine.state.metrics["val_classes_lost"] = len(lost)
        if lost:
            entries = self.table.entries
            names = ", ".join(f"{entries[index].name} ({entries[index].id})" for index in lost)
            logger.warning("%d of %d classes were never predicted: %s.", len(lost), int((expected > 0).sum()), names)


def lost_classes(predicted: Sequence[int] | torch.Tensor, expected: Sequence[int] | torch.Tensor) -> list[int]:
    """Indices of the classes with voxels in the reference and none in the prediction, from counts of voxels `(K,)`."""
    return [index for index, (p, e) in enumerate(zip(predicted, expected, strict=True)) if e > 0 and p == 0]
