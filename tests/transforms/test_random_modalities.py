"""Modalities whose intensities change by themselves, and those that training leaves out."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from monai.transforms import Compose, RandGaussianNoise, RandScaleIntensity

from monai_mamba.transforms.random_modalities import RandDropModalitiesd, RandEachModalityd


def image() -> torch.Tensor:
    volume = torch.zeros(4, 6, 6, 6)
    volume[:3, 2:] = torch.arange(1.0, 5.0)[:, None, None]
    return volume


def draw(seed: int) -> torch.Tensor:
    random = Compose([RandScaleIntensity(factors=0.5, prob=1.0), RandGaussianNoise(prob=1.0, std=0.1)])
    return RandEachModalityd("image", random).set_random_state(seed)({"image": image()})["image"]


def test_each_modality_draws_its_own_numbers_and_air_stays_air():
    result = draw(0)
    factors = result[:3, 2:].mean(dim=(1, 2, 3)) / image()[:3, 2:].mean(dim=(1, 2, 3))
    assert len({round(float(factor), 2) for factor in factors}) == 3
    assert torch.equal(result == 0, image() == 0)


def test_a_seed_repeats_and_another_does_not():
    assert torch.equal(draw(5), draw(5))
    assert not torch.equal(draw(5), draw(6))


def case(present: list[int]) -> torch.Tensor:
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
    draws = Counter(kept(drop, case(present)) for _ in range(1500))
    subsets = 2 ** len(present) - 1
    assert len(draws) == subsets
    assert () not in draws
    # Standard deviations of the counts are 10 (15 subsets) and 18 (3 subsets).
    assert max(abs(count - 1500 / subsets) for count in draws.values()) < 75


def test_probability_zero_keeps_all_and_seeds_repeat():
    assert kept(RandDropModalitiesd("image", prob=0.0), case([0, 2])) == (0, 2)
    first, second = (RandDropModalitiesd("image", prob=0.5).set_random_state(7) for _ in range(2))
    assert [kept(first, case([0, 1, 2, 3])) for _ in range(20)] == [kept(second, case([0, 1, 2, 3])) for _ in range(20)]
