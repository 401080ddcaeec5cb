"""Modalities that training leaves out."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from monai_mamba.transforms.modality_dropout import RandDropModalitiesd


def image(present: list[int]) -> torch.Tensor:
    volume = torch.zeros(4, 2, 2, 2)
    volume[present, 1] = 3.0
    return volume


def kept(drop: RandDropModalitiesd, source: torch.Tensor) -> tuple[int, ...]:
    result = drop({"image": source})["image"]
    there = tuple(torch.nonzero(result.flatten(1).any(dim=1)).flatten().tolist())
    assert torch.equal(result[list(there)], source[list(there)])
    return there


@pytest.mark.parametrize("present", [[0, 1, 2, 3], [1, 3]])
def test_every_subset_of_what_is_there_is_equally_likely(present):
    drop = RandDropModalitiesd("image", prob=1.0).set_random_state(0)
    draws = Counter(kept(drop, image(present)) for _ in range(1500))
    subsets = 2 ** len(present) - 1
    assert len(draws) == subsets
    assert () not in draws
    # Standard deviations of the counts are 10 (15 subsets) and 18 (3 subsets).
    assert max(abs(count - 1500 / subsets) for count in draws.values()) < 75


def test_probability_zero_keeps_all_and_seeds_repeat():
    assert kept(RandDropModalitiesd("image", prob=0.0), image([0, 2])) == (0, 2)
    first, second = (RandDropModalitiesd("image", prob=0.5).set_random_state(7) for _ in range(2))
    assert [kept(first, image([0, 1, 2, 3])) for _ in range(20)] == [
        kept(second, image([0, 1, 2, 3])) for _ in range(20)
    ]
