"""BraTS's rules for regions and lesions, on shapes whose scores can be told by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_mamba.metrics.region_scores import RegionScoresMetric, lesion_scores, region_scores

SPACING = (1.0, 1.0, 1.0)
EMPTY = np.zeros((40, 24, 24), dtype=bool)


def with_boxes(*boxes: tuple[int, int, int]) -> np.ndarray:
    """Boxes (first, last, width): along the first axis from first to last, `width` voxels along the others."""
    mask = EMPTY.copy()
    for first, last, width in boxes:
        mask[first : last + 1, 4 : 4 + width, 4 : 4 + width] = True
    return mask


def test_empty_regions():
    box = with_boxes((4, 9, 5))
    assert region_scores(EMPTY, EMPTY, SPACING) == (1.0, 0.0)
    for pair in ((box, EMPTY), (EMPTY, box)):
        assert region_scores(*pair, SPACING) == (0.0, pytest.approx(373.1287, abs=1e-4))


def test_a_shifted_box():
    a, b = with_boxes((4, 13, 5)), with_boxes((6, 15, 5))
    dsc, hd95 = region_scores(a, b, SPACING)
    assert dsc == pytest.approx(0.8)
    assert hd95 == pytest.approx(2.0)
    assert region_scores(a, b, (3.0, 1.0, 1.0))[1] > 2.5  # the ends are 6 mm apart, the sides are the same
    assert region_scores(a, a, SPACING) == (1.0, 0.0)


def test_lesions_found_missed_and_false():
    reference = with_boxes((2, 5, 5), (16, 19, 5))  # two lesions of 100 mm3
    prediction = with_boxes((2, 5, 5), (32, 36, 5))  # the first exactly, and one that is not there
    dsc, hd95, lesions, missed, false = lesion_scores(prediction, reference, SPACING)
    assert (lesions, missed, false) == (2, 1, 1)
    assert dsc == pytest.approx(1 / 3)
    assert hd95 == pytest.approx(2 * 374 / 3)


def test_parts_within_six_voxels_are_one_lesion():
    # Each is dilated three times: with 6 voxels between them they touch (26 neighbors), with 7 they do not.
    assert lesion_scores(EMPTY, with_boxes((2, 5, 5), (12, 15, 5)), SPACING)[2] == 1
    assert lesion_scores(EMPTY, with_boxes((2, 5, 5), (13, 16, 5)), SPACING)[2] == 2


def test_a_part_that_touches_the_dilated_lesion_is_not_false():
    reference, near, far = with_boxes((10, 13, 5)), with_boxes((16, 19, 5)), with_boxes((17, 20, 5))
    assert lesion_scores(near, reference, SPACING)[3:] == (0, 0)
    assert lesion_scores(far, reference, SPACING)[3:] == (1, 1)


def test_small_lesions_do_not_count_but_shield_what_touches_them():
    speck, two = with_boxes((4, 5, 5)), with_boxes((4, 6, 5))  # 50 and 75 mm3
    assert lesion_scores(EMPTY, speck, SPACING) == (1.0, 0.0, 0, 0, 0)
    assert lesion_scores(speck, speck, SPACING) == (1.0, 0.0, 0, 0, 0)
    assert lesion_scores(EMPTY, two, SPACING) == (0.0, 374.0, 1, 1, 0)
    assert lesion_scores(speck, EMPTY, SPACING) == (0.0, 374.0, 0, 0, 1)
    assert lesion_scores(EMPTY, speck, (2.0, 1.0, 1.0))[2] == 1  # the limit is in mm3


def test_the_metric_takes_the_spacing_from_the_reference():
    a, b = (torch.from_numpy(np.stack([mask] * 3)) for mask in (with_boxes((4, 13, 5)), with_boxes((6, 15, 5))))
    metric = RegionScoresMetric(lesion_wise=True)
    metric([a], [MetaTensor(b, affine=torch.diag(torch.tensor([3.0, 1.0, 1.0, 1.0])))])
    metric([a], [b])
    scores = metric.get_buffer()
    assert tuple(scores.shape) == (2, 3, 7)
    torch.testing.assert_close(scores[..., 0], torch.full((2, 3), 0.8))
    assert scores[0, 0, 1] == pytest.approx(3 * scores[1, 0, 1], abs=3)
    assert scores[0, 0, 1] > scores[1, 0, 1]
    assert scores[1, 0, 4] == 1
    assert metric.aggregate() == pytest.approx(0.8)
