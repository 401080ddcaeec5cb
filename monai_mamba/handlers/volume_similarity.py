"""Volume similarity during training and evaluation."""

from __future__ import annotations

from collections.abc import Callable

from monai.handlers import IgniteMetricHandler
from monai.utils import MetricReduction

from monai_mamba.metrics.volume_similarity import VolumeSimilarityMetric


class VolumeSimilarity(IgniteMetricHandler):
    """Computes the volume similarity of every iteration and reports its mean at the end of the epoch.

    Used like MONAI's `MeanDice`, as key metric or additional metric of an engine.

    Args:
        include_background: whether to keep the first class.
        reduction: one of MONAI's reductions; it acts on the values that are not NaN.
        num_classes: number of classes, background included, when prediction and reference are class indices.
        output_transform: takes `(y_pred, y)` out of `engine.state.output`, such as `from_engine(["pred", "label"])`.
        save_details: whether to leave the values per case and class in `engine.state.metric_details`.
    """

    def __init__(
        self,
        include_background: bool = True,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        num_classes: int | None = None,
        output_transform: Callable = lambda x: x,
        save_details: bool = True,
    ) -> None:
        metric = VolumeSimilarityMetric(
            include_background=include_background, reduction=reduction, num_classes=num_classes
        )
        super().__init__(metric_fn=metric, output_transform=output_transform, save_details=save_details)
