"""Modalities exchanged, copied, of two people, or with a skull."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from monai_mamba.data.modalities import MODALITIES
from monai_mamba.transforms.load_modalities import LoadModalitiesd
from monai_mamba.transforms.modality_doubts import find_doubts

LOAD = LoadModalitiesd("image")
SAMPLE = Path(__file__).resolve().parents[2] / "bundles" / "brats_multimodal" / "sample_data" / "TCGA-FG-6692"
EXCHANGED = {
    "FLAIR and T1": ("flair", "t1", "look exchanged"),
    "FLAIR and T1ce": ("flair", "t1ce", "look exchanged"),
    "FLAIR and T2": ("flair", "t2", "look exchanged"),
    "T1 and T1ce": ("t1", "t1ce", "look exchanged"),
    "T1 and T2": ("t1", "t2", "look exchanged"),
    "T1ce and T2": ("t1ce", "t2", "look exchanged"),
}


def test_modalities_in_the_place_of_another_one_and_copies_are_noticed(caplog):
    suffixes = dict(zip(MODALITIES, ("t2f", "t1n", "t1c", "t2w"), strict=True))
    paths = {name: str(SAMPLE / f"{SAMPLE.name}-{suffix}.nii.gz") for name, suffix in suffixes.items()}
    with caplog.at_level(logging.WARNING, "monai_mamba"):
        assert LOAD({"image": paths})["image"].meta["doubts"] == ""
        assert not caplog.text
        for names, (one, other, said) in EXCHANGED.items():
            caplog.clear()
            case = LOAD({"image": paths | {one: paths[other], other: paths[one]}})
            assert case["image"].meta["doubts"] == f"the images called {names} {said}"
            assert f"the images called {names} {said}. Check which file is which." in caplog.text
        pair = {name: paths[other] for name, other in (("t1", "t1ce"), ("t1ce", "t1"))}
        assert "T1 and T1ce look exchanged" in LOAD({"image": pair})["image"].meta["doubts"]
        assert LOAD({"image": {name: paths[name] for name in pair}})["image"].meta["doubts"] == ""
        copied = LOAD({"image": paths | {"t1ce": paths["t1"]}})["image"].meta["doubts"]
        assert copied == "the images called T1 and T1ce are the same"


def test_modalities_of_two_people_and_a_skull_are_noticed():
    """On one grid, as all cases of BraTS are."""
    ring = np.linalg.norm(np.indices((60, 60, 60)) - 29.5, axis=0)
    image = np.zeros((4, 60, 60, 60), np.float32)
    image[0][ring < 25] = image[1][ring < 25] = 1
    assert list(find_doubts(image, ("flair", "t1"), 1.0)) == []
    image[1] = np.roll(image[1], 4, axis=0)
    assert list(find_doubts(image, ("flair", "t1"), 1.0)) == ["the brains in FLAIR and T1 overlap by 88% only"]
    assert list(find_doubts(image, ("flair", "t1"), 40.0)) == [
        "the skull seems to be present in FLAIR, T1",
        "the brains in FLAIR and T1 overlap by 88% only",
    ]
