"""Volume similarity against its formula, and as the metric of an engine."""

from __future__ import annotations

import math

import pytest
import torch
from ignite.engine import Engine
from monai.handlers import IgniteMetricHandler

from monai_mamba.metrics.volume_similarity import VolumeSimilarityMetric, compute_volume_similarity


def masks(*voxels: int) -> torch.Tensor:
    """One case `(1, C, 4, 4, 4)` whose class `c` has `voxels[c]` voxels."""
    result = torch.zeros(1, len(voxels), 64)
    for channel, count in enumerate(voxels):
        result[0, channel, :count] = 1
    return result.view(1, len(voxels), 4, 4, 4)


def test_follows_the_formula_and_the_rule_for_absent_classes():
    values = compute_volume_similarity(masks(10, 30, 0, 5, 0), masks(10, 10, 0, 0, 7))
    expected = torch.tensor([[1.0, 1 - 20 / 40, torch.nan, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(values, expected, equal_nan=True)


def test_place_does_not_matter():
    first = masks(0, 20)
    torch.testing.assert_close(compute_volume_similarity(first, first.flip(4))[0, 1].item(), 1.0)


def test_class_indices_equal_one_hot_masks():
    generator = torch.Generator().manual_seed(0)
    prediction, reference = torch.randint(0, 5, (2, 2, 1, 6, 7, 8), generator=generator)
    one_hot = [torch.nn.functional.one_hot(x[:, 0], 6).movedim(-1, 1) for x in (prediction, reference)]
    for background in (True, False):
        values = compute_volume_similarity(prediction, reference, background, num_classes=6)
        torch.testing.assert_close(values, compute_volume_similarity(*one_hot, background), equal_nan=True)
        assert values.shape == (2, 6 if background else 5)


def test_large_volumes_are_counted_exactly():
    size = 2**24 + 1
    prediction, reference = torch.ones(1, 1, 1, size, dtype=torch.bool), torch.ones(1, 1, 1, size, dtype=torch.bool)
    reference[..., 0] = False
    assert compute_volume_similarity(prediction, reference).item() == 1 - 1 / (2 * size - 1)


def test_accumulates_and_leaves_nan_out():
    metric = VolumeSimilarityMetric(include_background=False)
    metric(masks(64, 30, 0), masks(64, 10, 0))
    metric([masks(64, 8, 5)[0]], [masks(64, 8, 0)[0]])
    assert metric.get_buffer().flatten().tolist() == pytest.approx([0.5, math.nan, 1.0, 0.0], nan_ok=True)
    assert metric.aggregate().item() == pytest.approx(0.5)
    metric.reset()
    with pytest.raises(ValueError, match="nothing to aggregate"):
        metric.aggregate()


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        compute_volume_similarity(masks(1, 2), masks(1, 2, 3))


def test_handler_reports_the_mean_and_the_details():
    batches = [(masks(64, 30), masks(64, 10)), (masks(64, 8), masks(64, 8))]
    engine = Engine(lambda _, batch: batch)
    engine.state.metric_details = {}
    IgniteMetricHandler(metric_fn=VolumeSimilarityMetric(include_background=False)).attach(engine, "val_vs")
    engine.run(batches)
    assert engine.state.metrics["val_vs"] == pytest.approx(0.75)
    assert engine.state.metric_details["val_vs"].flatten().tolist() == pytest.approx([0.5, 1.0])
