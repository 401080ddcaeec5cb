"""Scores per structure and scan during an evaluation, and their tables on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from monai.handlers import IgniteMetricHandler

from monai_mamba.handlers.score_writer import ScoreWriter
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


class ScoreTables(ScoreWriter):
    """Writes the scores of a `StructureScores` metric as `scores.tsv`, `summary.tsv`, `scores.json`; see `ScoreWriter`.

    Args:
        table: the classes, as given to the metric.
        grid: on which grid the label maps are compared, in words, for `scores.json`.
    """

    def __init__(
        self, output_dir: str | Path, table: LabelTable, metric: str, batch_transform: Callable, grid: str
    ) -> None:
        super().__init__(output_dir, metric, batch_transform)
        self.table = table
        self.grid = grid

    def write(self, scores: torch.Tensor, subjects: list[str]) -> None:
        """Write the scores `(N, structures, 4)` of scans."""
        write_score_tables(self.output_dir, subjects, scores, self.table.structures, self.grid)
        means = ", ".join(
            f"{name} {value:.3f}" for name, value in zip(SCORES, mean_over_scans(scores).nanmean(dim=0), strict=True)
        )
        logger.info("Scores of %d scans written to %s: %s.", len(subjects), self.output_dir, means)
        logger.info(ABSENT_RULE)
