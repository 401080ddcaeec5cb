"""Scores per structure and scan during an evaluation, and their tables on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.handlers import IgniteMetricHandler
from monai.utils import string_list_all_gather

from monai_mamba.labels import LabelTable
from monai_mamba.metrics.score_tables import write_score_tables
from monai_mamba.metrics.structure_scores import ABSENT_RULE, SCORES, StructureScoresMetric, mean_over_scans

logger = logging.getLogger(__name__)


class StructureScores(IgniteMetricHandler):
    """DSC, VS, ASSD and HD95 of every structure and scan; its value is the DSC averaged over structures, then scans.

    The scores of all scans are left in `engine.state.metric_details` as `(N, structures, 4)`.

    Args:
        table: the classes; those written to label maps are compared.
        output_transform: takes `(y_pred, y)`, lists of class indices `(1, H, W, D)`, out of `engine.state.output`, such
            as `from_engine(["pred", "label"])`.
    """

    def __init__(self, table: LabelTable, output_transform: Callable = lambda x: x) -> None:
        metric = StructureScoresMetric([entry.index for entry in table.structures])
        super().__init__(metric_fn=metric, output_transform=output_transform)


class ScoreTables:
    """Writes the scores of a `StructureScores` metric as tables when the evaluation is complete.

    In a distributed run the first rank writes them for all.

    Args:
        output_dir: folder for `scores.tsv`, `summary.tsv` and `scores.json`.
        table: the classes, as given to the metric.
        metric: name of the metric in the engine.
        batch_transform: takes the list of the scans' names out of `engine.state.batch`, such as
            `from_engine("subject")`.
        grid: on which grid the label maps are compared, in words, for `scores.json`.
    """

    def __init__(
        self, output_dir: str | Path, table: LabelTable, metric: str, batch_transform: Callable, grid: str
    ) -> None:
        self.output_dir = Path(output_dir)
        self.table = table
        self.metric = metric
        self.batch_transform = batch_transform
        self.grid = grid
        self._subjects: list[str] = []

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator; attach it after the metric, as the `handlers` of MONAI's engines are."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self._subjects.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _collect(self, engine: Engine) -> None:
        self._subjects.extend(str(name) for name in self.batch_transform(engine.state.batch))

    def _write(self, engine: Engine) -> None:
        scores = engine.state.metric_details[self.metric].cpu()
        subjects = string_list_all_gather(self._subjects) if idist.get_world_size() > 1 else self._subjects
        if idist.get_rank() != 0:
            return
        write_score_tables(self.output_dir, subjects, scores, self.table.structures, self.grid)
        means = ", ".join(
            f"{name} {value:.3f}" for name, value in zip(SCORES, mean_over_scans(scores).nanmean(dim=0), strict=True)
        )
        logger.info("Scores of %d scans written to %s: %s.", len(subjects), self.output_dir, means)
        logger.info(ABSENT_RULE)
