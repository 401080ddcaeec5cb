"""Random margins: the structure stays whole, image and label stay together, all margins occur."""

from __future__ import annotations

import torch
from monai.data import MetaTensor

from monai_mamba.transforms.crop_margins import RandCropMarginsd


def case() -> dict[str, torch.Tensor]:
    label = torch.zeros(1, 12, 14, 16)
    label[:, 4:8, 1:9, 5:10] = 1  # margins 4 and 4, 1 and 5, 5 and 6
    image = MetaTensor(torch.arange(label.numel()).reshape(label.shape).float())
    return {"image": image, "label": MetaTensor(label)}


def test_margins_vary_but_the_structure_and_its_neighborhood_stay():
    transform = RandCropMarginsd(["image", "label"], keep=2, prob=1.0).set_random_state(0)
    whole, seen = case(), set()
    for _ in range(100):
        cut = transform(case())
        assert cut["label"].sum() == whole["label"].sum()
        marked = torch.nonzero(cut["label"][0])
        low, high = marked.min(0).values, torch.tensor(cut["label"].shape[1:]) - 1 - marked.max(0).values
        seen.add((*low.tolist(), *high.tolist()))
        start = [int(a - b) for a, b in zip((4, 1, 5), low, strict=True)]
        there = tuple(slice(s, s + n) for s, n in zip(start, cut["image"].shape[1:], strict=True))
        assert torch.equal(cut["image"][0].as_tensor(), whole["image"][0][there].as_tensor())
        torch.testing.assert_close(cut["image"].affine[:3, 3].float(), torch.tensor(start).float())
    assert [{margins[i] for margins in seen} for i in range(6)] == [
        {2, 3, 4},
        {1},
        {2, 3, 4, 5},
        {2, 3, 4},
        {2, 3, 4, 5},
        {2, 3, 4, 5, 6},
    ]


def test_nothing_is_cut_without_chance_or_without_labels():
    never = RandCropMarginsd(["image", "label"], prob=0.0)
    assert never(case())["image"].shape == (1, 12, 14, 16)
    empty = case()
    empty["label"].zero_()
    assert RandCropMarginsd(["image", "label"], prob=1.0)(empty)["image"].shape == (1, 12, 14, 16)
