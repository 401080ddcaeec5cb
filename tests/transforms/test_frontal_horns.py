"""Choroid plexus in front of the thalamus becomes ventricle, side by side."""

from __future__ import annotations

import torch

from monai_mamba.transforms.frontal_horns import clear_frontal_horns


def head() -> torch.Tensor:
    """Left half (high first index) and right half, each a ventricle with a line of plexus along the last axis."""
    ids = torch.zeros(1, 8, 4, 12, dtype=torch.int16)
    ids[0, 4:], ids[0, :4] = 4, 43
    ids[0, 4:, 0, 2:6], ids[0, :4, 0, 2:8] = 10, 49
    ids[0, 4:, 2], ids[0, :4, 2] = 136, 163
    ids[0, 4:, 3, :4], ids[0, :4, 3, :4] = 137, 164
    return ids


def test_plexus_ends_at_the_front_of_the_thalamus_of_its_side():
    ids = head()
    kept = ids.clone()
    result = clear_frontal_horns(ids)
    assert torch.equal(ids, kept)
    assert (result[0, 4:, 2] == torch.tensor([136] * 6 + [4] * 6)).all()
    assert (result[0, :4, 2] == torch.tensor([163] * 8 + [43] * 4)).all()
    result[0, :, 2] = ids[0, :, 2]
    assert torch.equal(result, ids)


def test_a_map_without_thalamus_stays_as_it_is():
    ids = head()
    ids[(ids == 10) | (ids == 49)] = 2
    assert torch.equal(clear_frontal_horns(ids), ids)
