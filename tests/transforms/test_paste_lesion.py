"""Tumors pasted into other brains: place, intensities, masks, and what stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tumor_phantom import MODALITIES, make_tumor

from monai_mamba.labels import RegionTable
from monai_mamba.transforms.paste_lesion import CutLesiond, RandPasteLesiond

ELSEWHERE = np.array([4.0, -4.0, -3.0])  # mm, where the other tumor is small enough to have room


def case(scale: float = 1.0, shift: float = 0.0, **options) -> dict[str, torch.Tensor]:
    """A phantom whose intensities inside the brain are scaled and shifted."""
    volumes, labels = make_tumor(**options)
    image = torch.from_numpy(np.stack([volumes[name] for name in MODALITIES]).astype(np.float32))
    image = torch.where(image != 0, image * scale + shift, 0)
    return {"image": image, "label": torch.from_numpy(RegionTable.load("brats2023").to_regions(labels))}


def small_lesion(scale: float) -> dict[str, torch.Tensor]:
    """Every second voxel of a tumor: a third of its size in mm is enough to find room."""
    donor = CutLesiond("image")(case(scale))
    return {name: value[:, ::2, ::2, ::2] for name, value in donor.items()}


def test_a_lesion_is_cut_out_on_the_scale_of_healthy_brain():
    source = case(3.0, 50.0)
    donor = CutLesiond("image")(source)
    assert donor["image"].shape[1:] == donor["label"].shape[1:]
    assert max(donor["image"].shape) <= 17 + 6
    assert (donor["label"].sum(), donor["image"].dtype) == (source["label"].sum(), torch.float16)
    healthy = ~donor["label"].bool().any(dim=0)
    assert donor["image"][:, healthy].float().mean().abs() < 0.5
    # 220 in 100 with a texture of 2: far above healthy brain, whatever the scale of the scan was.
    bright = donor["image"][0][donor["label"][1].bool()].float()
    torch.testing.assert_close(bright, CutLesiond("image")(case())["image"][0][donor["label"][1].bool()].float())
    assert bright.min() > 30


def test_a_pasted_lesion_is_as_bright_as_one_of_the_case_and_in_the_masks():
    before = case(2.0, 10.0, center=ELSEWHERE)
    paste = RandPasteLesiond("image", [small_lesion(0.5)], prob=1.0).set_random_state(1)
    after = paste(before)
    core, whole, enhancing = after["label"].bool()
    new = whole & ~before["label"][1].bool()
    assert 200 < new.sum() <= small_lesion(1.0)["label"][1].sum()
    assert (before["label"] <= after["label"]).all()
    assert not (enhancing & ~core).any()
    assert not (core & ~whole).any()
    assert not (whole & ~(before["image"] != 0).any(dim=0)).any()
    for channel, region in enumerate([whole, core, enhancing, whole]):
        values, inside = after["image"][channel], region & new
        assert values[inside].max() == pytest.approx(2 * 220 + 10, rel=0.03)  # its border fades
        others = ~whole & (before["image"][channel] != 0)
        assert (values[others] - before["image"][channel][others]).abs().mean() < 5  # but for the fading border
    assert torch.equal(after["image"] != 0, before["image"] != 0)


def test_what_does_not_fit_or_lacks_a_modality_leaves_the_case_as_it_is():
    before = case()
    cases = {
        "too large": CutLesiond("image")(case()),
        "no tumor": CutLesiond("image")({**case(), "label": torch.zeros_like(case()["label"])}),
        "no T2": {
            **small_lesion(1.0),
            "image": small_lesion(1.0)["image"] * torch.tensor([1, 1, 1, 0])[:, None, None, None],
        },
    }
    for name, donor in cases.items():
        paste = RandPasteLesiond("image", [donor], prob=1.0).set_random_state(0)
        if name == "too large":  # for what is left of the brain beside its own tumor
            donor["label"][:] = 1
        after = paste(before)
        assert all(torch.equal(after[key], before[key]) for key in before), name
    assert paste(before)["image"] is before["image"]


def test_a_missing_modality_stays_missing_and_draws_repeat():
    before = case(center=ELSEWHERE)
    before["image"][1] = 0
    results = []
    for seed in (3, 3, 4):
        paste = RandPasteLesiond("image", [small_lesion(1.0)], prob=1.0).set_random_state(seed)
        results.append(paste(before))
    assert not results[0]["image"][1].any()
    assert not torch.equal(results[0]["label"], before["label"])
    assert torch.equal(results[0]["image"], results[1]["image"])
    assert not torch.equal(results[0]["label"], results[2]["label"])
