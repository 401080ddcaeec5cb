"""Random intensities of each modality by itself."""

from __future__ import annotations

import torch
from monai.transforms import Compose, RandGaussianNoise, RandScaleIntensity

from monai_mamba.transforms.each_modality import RandEachModalityd


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
