"""Scores per tumor region, case and subset of modalities during an evaluation, and their tables on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.handlers import IgniteMetricHandler
from monai.utils import string_list_all_gather

from monai_mamba.metrics.region_scores import EMPTY_RULE, RegionScoresMetric
from monai_mamba.metrics.region_tables import write_region_tables

logger = logging.getLogger(__name__)


class RegionScores(IgniteMetricHandler):
    """DSC and HD95 of every region and case by BraTS's rules; its value is the mean DSC.

    The scores of all cases are left in `engine.state.metric_details`, see `RegionScoresMetric`.

    Args:
        lesion_wise: also score lesion by lesion, which takes longer.
        output_transform: takes `(y_pred, y)`, lists of masks `(R, H, W, D)`, out of `engine.state.output`, such as
            `from_engine(["pred", "label"])`.
    """

    def __init__(self, lesion_wise: bool = False, output_transform: Callable = lambda x: x) -> None:
        super().__init__(metric_fn=RegionScoresMetric(lesion_wise), output_transform=output_transform)


class RegionTables:
    """Writes the scores of a `RegionScores` metric as tables when the evaluation is complete.

    In a distributed run the first rank writes them for all.

    Args:
        output_dir: folder for `scores.tsv`, `summary.tsv` and `scores.json`.
        regions: names of the regions.
        metric: name of the metric in the engine.
        batch_transform: takes the lists of the cases' names and modalities out of `engine.state.batch`, such as
            `from_engine(["subject", "modalities"])`.
    """

    def __init__(self, output_dir: str | Path, regions: Sequence[str], metric: str, batch_transform: Callable) -> None:
        self.output_dir = Path(output_dir)
        self.regions = tuple(regions)
        self.metric = metric
        self.batch_transform = batch_transform
        self._subjects: list[str] = []
        self._subsets: list[str] = []

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator; attach it after the metric, as the `handlers` of MONAI's engines are."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _clear(self, engine: Engine) -> None:
        self._subjects.clear()
        self._subsets.clear()

    def _collect(self, engine: Engine) -> None:
        subjects, subsets = self.batch_transform(engine.state.batch)
        self._subjects.extend(map(str, subjects))
        self._subsets.extend(map(str, subsets))

    def _write(self, engine: Engine) -> None:
        scores = engine.state.metric_details[self.metric].cpu()
        subjects, subsets = self._subjects, self._subsets
        if idist.get_world_size() > 1:
            subjects, subsets = string_list_all_gather(subjects), string_list_all_gather(subsets)
        if idist.get_rank() != 0:
            return
        write_region_tables(self.output_dir, subjects, subsets, scores, self.regions)
        means = ", ".join(
            f"{name} DSC {dsc:.3f} HD95 {hd95:.1f} mm"
            for name, (dsc, hd95) in zip(self.regions, scores[:, :, :2].mean(dim=0).tolist(), strict=True)
        )
        logger.info(
            "Scores of %d cases, each from %d subsets of modalities at most, in %s: %s.",
            len(set(subjects)),
            len(set(subsets)),
            self.output_dir,
            means,
        )
        logger.info(EMPTY_RULE)
