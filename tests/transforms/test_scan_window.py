"""Windows of labeled scans: what is drawn agrees with what was given, sides and gray values included."""

from __future__ import annotations

import pytest
import torch

from monai_mamba.labels import LabelTable
from monai_mamba.transforms.scan_window import RandScanWindowd

LABELS = LabelTable.load("subcortical")
INDEX = LABELS.index_of_id
SIZE = (40, 40, 40)


def head(left: float = 0.3, right: float = 0.5) -> dict[str, torch.Tensor]:
    """Skin around white matter with a hippocampus per side, of two gray values; the first axis runs to the left."""
    label = torch.zeros(1, *SIZE, dtype=torch.uint8)
    label[0, 5:20, 5:35, 5:35] = INDEX[41]
    label[0, 20:35, 5:35, 5:35] = INDEX[2]
    label[0, 7:13, 14:26, 14:26] = INDEX[53]
    label[0, 27:33, 14:26, 14:26] = INDEX[17]
    image = torch.zeros(1, *SIZE)
    image[0, 2:38, 2:38, 2:38] = 0.6
    image[(label == INDEX[2]) | (label == INDEX[41])] = 0.8
    image[label == INDEX[17]], image[label == INDEX[53]] = left, right
    return {"image": image, "label": label}


def plain(**options) -> RandScanWindowd:
    return RandScanWindowd("image", LABELS, roi_size=SIZE, contrast_prob=0.0, bright_prob=0.0, **options)


def test_window_has_the_promised_shape_type_and_range():
    sample = RandScanWindowd("image", LABELS, roi_size=SIZE).set_random_state(0)(head())
    assert sample["image"].shape == sample["label"].shape == (1, *SIZE)
    assert (sample["image"].dtype, sample["label"].dtype) == (torch.float32, torch.uint8)
    assert 0 <= sample["image"].min() < sample["image"].max() <= 1


def test_same_seed_same_sample_and_another_seed_another():
    first, again, other = (plain().set_random_state(seed)(head()) for seed in (3, 3, 4))
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(first["label"], again["label"])
    assert not torch.equal(first["image"], other["image"])


def test_image_and_labels_are_drawn_at_the_same_places_and_sides_stay_sides():
    mirrored = 0
    for seed in range(30):
        sample = plain(anywhere_prob=0.0, strip_prob=0.0).set_random_state(seed)(head())
        image, label = sample["image"][0], sample["label"][0]
        inside = {side: label == INDEX[side] for side in (17, 53, 2, 41)}
        if min(int(mask.sum()) for mask in inside.values()) < 200:
            continue
        left, right = image[inside[17]].median(), image[inside[53]].median()
        assert max(left, right) < image[inside[2]].median()
        assert torch.nonzero(inside[17])[:, 0].float().mean() > torch.nonzero(inside[53])[:, 0].float().mean()
        mirrored += bool(left > right)  # the dark one was on the left
    assert 3 < mirrored < 25


@pytest.mark.parametrize("mirror_prob", [0.0, 1.0])
def test_the_share_of_mirrored_windows(mirror_prob):
    transform = plain(mirror_prob=mirror_prob, strip_prob=0.0, center=(19.5, 19.5, 19.5), elastic=0.0)
    for seed in range(6):
        sample = transform.set_random_state(seed)(head())
        image, label = sample["image"][0], sample["label"][0]
        assert bool(image[label == INDEX[17]].median() > image[label == INDEX[53]].median()) == bool(mirror_prob)


def test_every_second_window_has_any_level_of_white_matter():
    transform = plain(strip_prob=0.0, center=(19.5, 19.5, 19.5), elastic=0.0)
    transform.scan = lambda image, blur: image
    levels = []
    for seed in range(60):
        sample = transform.set_random_state(seed)(head())
        levels.append(float(sample["image"][0][sample["label"][0] == INDEX[2]].median()))
    assert sum(0.8 * 0.85 < level < 0.8 * 1.15 for level in levels) > 30
    assert min(levels) < 0.5
    assert 0.92 < max(levels) < 0.96


def test_a_structure_becomes_as_bright_as_white_matter_now_and_then_on_both_sides():
    data = head(0.3, 0.3)
    for source, target in ((17, 13), (53, 52)):
        data["label"][data["label"] == INDEX[source]] = INDEX[target]
    options = {"roi_size": SIZE, "contrast_prob": 0.0, "strip_prob": 0.0, "center": (20, 20, 20), "elastic": 0.0}
    bright = {0.0: 0, 1.0: 0}
    for bright_prob in bright:
        transform = RandScanWindowd("image", LABELS, bright_prob=bright_prob, **options)
        for seed in range(20):
            sample = transform.set_random_state(seed)(data)
            image, label = sample["image"][0], sample["label"][0]
            left, right, white = (image[label == INDEX[side]].median() for side in (13, 52, 2))
            bright[bright_prob] += bool(min(left, right) > 0.65 * white)
    assert bright[0.0] <= 1  # a dark structure may look so where the coil is bright
    assert bright[1.0] >= 5  # half of the draws choose the pallidum, not all as bright as that


def test_stripping_leaves_the_brain_and_removes_the_skin():
    sample = plain(strip_prob=1.0, center=(20, 20, 20), elastic=0.0).set_random_state(1)(head())
    image, label = sample["image"][0], sample["label"][0]
    far = torch.nn.functional.max_pool3d((label > 0).float()[None, None], 9, 1, 4)[0, 0] == 0
    assert image[label > 0].median() > 0.3
    assert far.sum() > 200
    assert image[far].median() < 0.1


@pytest.mark.parametrize("elastic", [0.0, 1.0])
def test_a_window_in_the_middle_shows_the_head_as_it_is_but_for_the_deformation(elastic):
    transform = plain(center=(19.5, 19.5, 19.5), elastic=elastic)
    agree = [
        float((transform.set_random_state(seed)(head())["label"] == head()["label"]).float().mean())
        for seed in range(6)
    ]
    assert sum(agree) / len(agree) > 0.6


@pytest.mark.parametrize("roi_size", [(24, 24, 24), (23, 21, 24)])
def test_undeformed_and_unaltered_windows_are_pieces_of_the_scan(roi_size):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, *SIZE, generator=generator)
    label = torch.randint(1, len(LABELS), (1, *SIZE), generator=generator).to(torch.uint8)
    options = {"roi_size": roi_size, "mirror_prob": 0.0, "strip_prob": 0.0, "center": (20.3, 19.9, 18.2)}
    start = [20 - roi_size[0] // 2, 19 - roi_size[1] // 2, 18 - roi_size[2] // 2]
    start = [s + (n % 2 == 0) for s, n in zip(start, roi_size, strict=True)]
    piece = (0, *(slice(s, s + n) for s, n in zip(start, roi_size, strict=True)))
    for seed in range(3):
        transform = RandScanWindowd("image", LABELS, undeformed_prob=1.0, unaltered_prob=1.0, **options)
        sample = transform.set_random_state(seed)({"image": image, "label": label})
        torch.testing.assert_close(sample["image"][0], image[piece], atol=1e-4, rtol=0)
        assert torch.equal(sample["label"][0], label[piece])
    altered = RandScanWindowd("image", LABELS, undeformed_prob=1.0, **options).set_random_state(0)
    assert (altered({"image": image, "label": label})["image"][0] - image[piece]).abs().max() > 0.01
