"""Labels to regions, and probabilities of regions to labels on the input's grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from tumor_phantom import SHAPE, make_tumor, middle_affine

from monai_mamba.errors import InputError
from monai_mamba.labels import RegionTable
from monai_mamba.transforms.tumor_regions import RestoreTumorLabelsd, ToTumorRegionsd


def label_map(values: list[float]) -> MetaTensor:
    return MetaTensor(torch.tensor(values).reshape(1, 1, 1, -1), meta={"filename_or_obj": "case_seg.nii.gz"})


def test_regions_of_a_label_map():
    regions = ToTumorRegionsd("label", "brats2021")({"label": label_map([0, 1, 2, 4])})["label"]
    assert regions.dtype == torch.uint8
    assert regions[:, 0, 0].tolist() == [[0, 1, 0, 1], [0, 1, 1, 1], [0, 0, 0, 1]]


def test_a_resection_cavity_is_no_tumor():
    regions = ToTumorRegionsd("label", "brats2024")({"label": label_map([0, 1, 2, 3, 4])})["label"]
    assert regions[:, 0, 0].tolist() == [[0, 1, 0, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 1, 0]]


@pytest.mark.parametrize(
    ("values", "convention", "advice"),
    [
        ([0, 1, 2, 4], "brats2023", "They are the labels of brats2024 or brats2021: set --label_convention"),
        ([0, 3], "brats2021", "They are the labels of brats2023 or brats2024 or brats_msd"),
        ([0, 1, 2, 3, 4], "brats2023", "They are the labels of brats2024: set --label_convention"),
        ([0, 17], "brats_msd", "Is this the tumor label map"),
    ],
)
def test_other_labels_are_refused(values, convention, advice):
    with pytest.raises(InputError) as caught:
        ToTumorRegionsd("label", convention)({"label": label_map(values)})
    assert "case_seg.nii.gz: its values are 0, " in str(caught.value)
    assert advice in str(caught.value)


def test_values_between_labels_are_refused():
    with pytest.raises(InputError, match=r"case_seg\.nii\.gz: its values are not label ids .* found 0\.5\."):
        ToTumorRegionsd("label", "brats2023")({"label": label_map([0, 0.5])})


def restore(
    masks: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], native: np.ndarray, convention: str = "brats2023"
) -> MetaTensor:
    meta = {"affine": torch.from_numpy(affine), "original_affine": native, "spatial_shape": np.array(shape)}
    probabilities = MetaTensor(torch.from_numpy(masks).half(), meta=meta)
    return RestoreTumorLabelsd("pred", convention)({"pred": probabilities})["pred"]


@pytest.mark.parametrize(
    ("spacing", "voxels", "kept"), [(1.0, 199, False), (1.0, 200, True), (2.0, 24, False), (2.0, 26, True)]
)
@pytest.mark.parametrize(("convention", "core", "enhancing"), [("brats2021", 1, 4), ("brats_msd", 2, 3)])
def test_an_enhancing_tumor_below_0_2_ml_is_necrosis(spacing, voxels, kept, convention, core, enhancing):
    shape, affine = (10, 10, 10), np.diag([spacing] * 3 + [1.0])
    masks = np.zeros((3, *shape))
    masks[:2, 2:8, 2:8, 2:8] = 1  # TC, WT
    masks[2].ravel()[:voxels] = 1  # ET, some of it outside
    labels = restore(masks, affine, shape, affine, convention)[0].numpy()
    assert (labels[masks[2] > 0] == (enhancing if kept else core)).all()
    np.testing.assert_array_equal(labels > 0, masks.any(axis=0))


def test_a_turned_and_cropped_grid_gives_exact_labels():
    _, expected = make_tumor()
    native = middle_affine(SHAPE)
    turned = expected[::-1, :, 3:30].transpose(2, 0, 1)
    affine = native @ np.array([[0, -1.0, 0, SHAPE[0] - 1], [0, 0, 1, 0], [1, 0, 0, 3], [0, 0, 0, 1]])
    labels = restore(RegionTable.load("brats2023").to_regions(turned), affine, SHAPE, native)
    assert labels.dtype == torch.uint8
    np.testing.assert_array_equal(labels[0].numpy(), expected)
    np.testing.assert_array_equal(labels.affine.numpy(), native)


def test_other_spacings_keep_place_and_size():
    shape, native = (24, 27, 12), np.diag([1.5, 1.5, 3.0, 1.0])
    native[:3, 3] = middle_affine(SHAPE)[:3, 3]
    labels = restore(RegionTable.load("brats2023").to_regions(make_tumor()[1]), middle_affine(SHAPE), shape, native)
    truth = make_tumor(shape, native)[1]
    for found, expected in zip(*(RegionTable.load("brats2023").to_regions(a) for a in (labels[0], truth)), strict=True):
        # Coarse voxels of small spheres: those on the border may fall either way.
        assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.8


def test_no_tumor_is_an_empty_map_and_other_channels_are_refused():
    affine = middle_affine(SHAPE)
    assert not restore(np.zeros((3, *SHAPE)), affine, SHAPE, affine).any()
    with pytest.raises(InputError, match="4 output channels, but the regions are TC, WT, ET"):
        restore(np.zeros((4, *SHAPE)), affine, SHAPE, affine)
