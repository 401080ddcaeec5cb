"""Modalities on one grid."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from tumor_phantom import MODALITIES, SHAPE, make_tumor, middle_affine, save

from monai_mamba.errors import InputError
from monai_mamba.transforms.load_modalities import LoadModalitiesd

LOAD = LoadModalitiesd("image")


def files(folder, **grids) -> dict[str, str]:
    """Modalities on the standard grid, or on that given as (shape, affine)."""
    paths = {}
    for name in MODALITIES:
        shape, affine = grids.get(name, (SHAPE, middle_affine(SHAPE)))
        paths[name] = save(folder / f"a_{name}.nii.gz", make_tumor(shape, affine)[0][name], affine)
    return paths


def test_files_and_a_4d_file_give_the_same(tmp_path):
    paths = files(tmp_path)
    volumes, _ = make_tumor()
    from_files = LOAD({"image": paths})
    assert from_files["modalities"] == "FLAIR+T1+T1ce+T2"
    assert from_files["image"].dtype == torch.float32
    for channel, name in enumerate(MODALITIES):
        np.testing.assert_array_equal(from_files["image"][channel].numpy(), volumes[name])
    whole = save(tmp_path / "all.nii.gz", np.stack([volumes[name] for name in ("t2", "flair", "t1")], axis=-1))
    image = LOAD({"image": whole, "channels": "t2+flair+t1"})["image"]
    for channel, name in enumerate(MODALITIES):
        expected = volumes[name] if name != "t1ce" else np.zeros(SHAPE)
        np.testing.assert_array_equal(image[channel].numpy(), expected)
    assert image.meta["volume"] == 1  # FLAIR is the reference


def test_missing_modalities_are_zero_and_named(tmp_path, caplog):
    paths = files(tmp_path)
    with caplog.at_level(logging.INFO, "monai_mamba"):
        result = LOAD({"image": {"t1": paths["t1"], "t2": paths["t2"]}, "name": "case 7"})
    assert result["image"].flatten(1).any(dim=1).tolist() == [False, True, False, True]
    assert "case 7: FLAIR, T1ce missing" in caplog.text
    chosen = LOAD({"image": paths, "modalities": "T1ce"})
    assert chosen["image"].flatten(1).any(dim=1).tolist() == [False, False, True, False]
    assert chosen["modalities"] == "T1ce"


def test_other_grids_are_resampled_to_the_finest_with_a_warning(tmp_path, caplog):
    coarse = ((18, 20, 17), middle_affine((18, 20, 17), 2.0))
    result = LOAD({"image": files(tmp_path, flair=coarse, t2=coarse)})
    assert tuple(result["image"].shape) == (4, *SHAPE)
    np.testing.assert_array_equal(result["image"].affine.numpy(), middle_affine(SHAPE))
    assert result["image"].meta["filename_or_obj"].endswith("a_t1ce.nii.gz")
    volumes, labels = make_tumor()
    for channel, name in ((0, "flair"), (3, "t2")):
        found = result["image"][channel].numpy()
        # Same place: the bright tumor is where it was, apart from what interpolation blurs at its border.
        overlap = ((found > 160) & (labels > 0)).sum() * 2 / ((found > 160).sum() + (labels > 0).sum())
        assert overlap > 0.9, name
    np.testing.assert_array_equal(result["image"][1].numpy(), volumes["t1"])
    assert "a_flair.nii.gz: its grid (18 x 20 x 17 voxels) differs from that of T1ce (36 x 40 x 34)" in caplog.text


def test_the_label_map_gives_the_grid(tmp_path):
    coarse = ((18, 20, 17), middle_affine((18, 20, 17), 2.0))
    paths = files(tmp_path, flair=coarse)
    label = save(tmp_path / "a_seg.nii.gz", make_tumor(*coarse)[1], coarse[1])
    image = LOAD({"image": paths, "label": label})["image"]
    assert tuple(image.shape[1:]) == coarse[0]
    np.testing.assert_array_equal(image.affine.numpy(), coarse[1])


def test_what_does_not_belong_together_is_refused(tmp_path):
    elsewhere = middle_affine(SHAPE)
    elsewhere[0, 3] += 28
    paths = files(tmp_path, t2=(SHAPE, elsewhere))
    image = make_tumor()[0]["t2"]
    save(tmp_path / "a_t2.nii.gz", image, elsewhere)
    with pytest.raises(
        InputError, match=r"a_t2.nii.gz: only \d+% of the brain in T2 lies in the field of view of FLAIR"
    ):
        LOAD({"image": paths})


def test_a_mask_is_refused_and_a_skull_is_noticed(tmp_path, caplog):
    path = save(tmp_path / "a_t1.nii.gz", (make_tumor()[0]["t1"] > 0).astype(np.uint8))
    with pytest.raises(InputError, match="expected an image, not a mask"):
        LOAD({"image": {"t1": path}})
    save(tmp_path / "a_t1.nii.gz", make_tumor()[0]["t1"] + 1)
    with caplog.at_level(logging.WARNING, "monai_mamba"):
        LOAD({"image": {"t1": path}})
    assert "skull" in caplog.text
