"""Scores per tumor region, case and subset of modalities during an evaluation, and their tables on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from monai.handlers import IgniteMetricHandler

from monai_mamba.handlers.score_writer import ScoreWriter
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


class RegionTables(ScoreWriter):
    """Writes the scores of a `RegionScores` metric as `scores.tsv`, `summary.tsv`, `scores.json`; see `ScoreWriter`.

    Args:
        regions: names of the regions.
        batch_transform: takes the lists of the cases' names and modalities.
    """

    def __init__(self, output_dir: str | Path, regions: Sequence[str], metric: str, batch_transform: Callable) -> None:
        super().__init__(output_dir, metric, batch_transform)
        self.regions = tuple(regions)

    def write(self, scores: torch.Tensor, subjects: list[str], subsets: list[str]) -> None:
        """Write the scores `(N, regions, S)` of cases, each from a subset of its modalities."""
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
