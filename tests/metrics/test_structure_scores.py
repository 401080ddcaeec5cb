"""The four scores on shapes whose answers are known, and the rule for absent structures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, list_data_collate

from monai_mamba.errors import InputError
from monai_mamba.metrics.structure_scores import StructureScoresMetric, structure_scores


def slabs(shift: int = 0) -> np.ndarray:
    """Label 1: a slab of 4 x 12 x 12 voxels that starts `shift` voxels later along the first axis."""
    labels = np.zeros((20, 16, 16), dtype=np.uint8)
    labels[4 + shift : 8 + shift, 2:14, 2:14] = 1
    return labels


def test_equal_maps_are_perfect():
    scores = structure_scores(slabs(), slabs(), [1])
    assert scores.tolist() == [[1.0, 1.0, 0.0, 0.0]]


def test_shifted_slab_has_the_known_scores():
    scores = structure_scores(slabs(1), slabs(), [1])[0]
    assert scores[0].item() == pytest.approx(0.75)
    assert scores[1].item() == pytest.approx(1.0)
    assert 0 < scores[2].item() <= 1.0
    assert scores[3].item() == pytest.approx(1.0)


def test_values_beside_whole_numbers_are_not_cut_off():
    """As a file with a scale gives them: 0.9999 is no 0."""
    assert structure_scores(slabs() * (1 - 1e-7), slabs(), [1])[0, 0] == 1
    with pytest.raises(InputError, match=r"reference: its values are not label ids .* found 0.99"):
        structure_scores(slabs(), slabs() * 0.99, [1])


def test_distances_are_in_millimeters_along_each_axis():
    unit = structure_scores(slabs(1), slabs(), [1])[0]
    stretched = structure_scores(slabs(1), slabs(), [1], spacing=(2.5, 10.0, 10.0))[0]
    assert stretched[3].item() == pytest.approx(2.5 * unit[3].item())
    assert stretched[2].item() == pytest.approx(2.5 * unit[2].item())
    across = structure_scores(slabs(1).transpose(1, 0, 2), slabs().transpose(1, 0, 2), [1], spacing=(10.0, 2.5, 10.0))
    torch.testing.assert_close(across[0], stretched)


def test_agrees_with_distances_computed_from_the_definition():
    rng = np.random.default_rng(3)
    blobs = [np.zeros((14, 13, 12), dtype=np.int16) for _ in range(2)]
    for blob in blobs:
        blob[3:9, 3:9, 3:9] = 17
        blob[rng.random(blob.shape) < 0.02] = 17
    spacing = np.array([1.0, 0.8, 1.3])

    def surface(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        inner = padded.copy()
        for axis in range(3):
            inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
        return np.argwhere((padded & ~inner)[1:-1, 1:-1, 1:-1]) * spacing

    first, second = (surface(blob == 17) for blob in blobs)
    distances = np.linalg.norm(first[:, None] - second[None], axis=-1)
    forth, back = distances.min(axis=1), distances.min(axis=0)
    scores = structure_scores(*blobs, [17], spacing)[0]
    assert scores[2].item() == pytest.approx(np.concatenate([forth, back]).mean(), rel=1e-5)
    assert scores[3].item() == pytest.approx(max(np.percentile(forth, 95), np.percentile(back, 95)), rel=1e-5)


def test_rule_for_absent_structures():
    prediction, reference = slabs(), slabs()
    prediction[15:17, 4:6, 4:6] = 2  # predicted only
    reference[15:17, 8:10, 8:10] = 4  # in the reference only
    scores = structure_scores(prediction, reference, [1, 2, 3, 4, 2035])
    assert scores[0].tolist() == [1.0, 1.0, 0.0, 0.0]
    for row in (1, 3):
        assert scores[row, :2].tolist() == [0.0, 0.0]
        assert scores[row, 2:].isnan().all()
    assert scores[2].isnan().all()
    assert scores[4].isnan().all()


def test_metric_takes_the_spacing_from_the_reference_and_averages_by_scan():
    affine = torch.diag(torch.tensor([-3.0, 1.0, 1.0, 1.0]))
    two = slabs()
    two[16:18, 4:6, 4:6] = 2
    metric = StructureScoresMetric([1, 2])
    reference = [MetaTensor(torch.as_tensor(labels)[None], affine=affine) for labels in (slabs(), two)]
    metric([torch.as_tensor(slabs(1))[None], torch.as_tensor(slabs())[None]], reference)
    scores = metric.get_buffer()
    assert scores.shape == (2, 2, 4)
    assert scores[0, 0, 3].item() == pytest.approx(3.0)
    # scan 1: structure 1 alone (0.75); scan 2: structures 1 and 2, the second one missed (1 and 0)
    assert metric.aggregate().item() == pytest.approx((0.75 + 0.5) / 2)


def test_each_item_of_a_batch_has_its_own_spacing():
    items = [
        MetaTensor(torch.as_tensor(slabs())[None], affine=torch.diag(torch.tensor([size, 1.0, 1.0, 1.0])))
        for size in (-3.0, 2.0)
    ]
    batch = list_data_collate(items)
    metric = StructureScoresMetric([1])
    metric(torch.as_tensor(np.stack([slabs(1), slabs(1)]))[:, None], batch)
    assert metric.get_buffer()[:, 0, 3].tolist() == pytest.approx([3.0, 2.0])


def test_different_grids_are_refused():
    with pytest.raises(ValueError, match="share one grid"):
        structure_scores(slabs(), slabs()[:-1], [1])
