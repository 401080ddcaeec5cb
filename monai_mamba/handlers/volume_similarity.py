"""Volume similarity during training and evaluation."""

from __future__ import annotations

from collections.abc import Callable

from monai.handlers import IgniteMetricHandler
from monai.utils import MetricReduction

from monai_mamba.metrics.volume_similarity import VolumeSimilarityMetric


class VolumeSimilarity(IgniteMetricHandler):
    """Computes the volume similarity of every iteration and reports its mean at the end of the epoch, like `MeanDice`.

    Args:
        include_background: as in `compute_volume_similarity`, as is `num_classes`.
        reduction: one of MONAI's reductions; it acts on the values that are not NaN.
        output_transform: takes `(y_pred, y)` out of `engine.state.output`, such as `from_engine(["pred", "label"])`.
    """

    def __init__(
        self,
        include_background: bool = True,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        num_classes: int | None = None,
        output_transform: Callable = lambda x: x,
    ) -> None:
        metric = VolumeSimilarityMetric(include_background, reduction, num_classes)
        super().__init__(metric_fn=metric, output_transform=output_transform)
