"""Both sides are shown alike to one network, and its answers go back to where they belong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_mamba.errors import InputError
from monai_mamba.inferers.hippocampus import HippocampusInferer, fill_outline
from monai_mamba.labels import LabelTable
from monai_mamba.transforms.conform import LIA

SIZE = (40, 24, 24)


def head() -> tuple[MetaTensor, torch.Tensor]:
    """A head that is symmetric about its middle, 1 mm LIA, and the ids of its hippocampi, left at larger indices."""
    torch.manual_seed(0)
    half = torch.rand(20, 24, 24)
    image = torch.cat([half.flip(0), half])[None, None]
    ids = torch.zeros(1, 1, *SIZE)
    ids[..., 24:34, 8:16, 6:18], ids[..., 6:16, 8:16, 6:18] = 17, 53
    affine = np.eye(4)
    affine[:3, :3] = LIA
    meta = {"original_affine": affine, "spatial_shape": SIZE, "filename_or_obj": "scan.nii"}
    return MetaTensor(image, affine=torch.from_numpy(affine), meta=meta), ids


def inferer(second, table: str, roi_size: tuple[int, int, int], per_side: bool, **kwargs) -> HippocampusInferer:
    return HippocampusInferer(
        second_inferer=second,
        labels=LabelTable.load(table),
        roi_size=roi_size,
        per_side=per_side,
        **{
            "first_network": None,
            "first_inferer": None,
            "first_labels": LabelTable.load("subcortical"),
            "fill": False,
            **kwargs,
        },
    )


def test_the_right_side_is_mirrored_there_and_back():
    image, ids = head()
    seen = []

    def second(box, network):
        """Anterior is the first third of the first axis, posterior the second."""
        seen.append(box)
        probabilities = torch.zeros(1, 3, *box.shape[2:])
        probabilities[:, 1, :4], probabilities[:, 2, 4:8] = 0.75, 0.5
        probabilities[:, 0] = 1 - probabilities.sum(dim=1)
        return probabilities

    result = inferer(second, "hippocampus_head_tail", (12, 16, 16), True)(image, None, ids)
    assert torch.equal(*seen)  # a symmetric head looks alike from both sides
    torch.testing.assert_close(result.sum(dim=1).as_tensor(), torch.ones(1, *SIZE, dtype=torch.float16))
    assert torch.equal(result.affine, image.affine)
    # The left box begins at 24 - (12 - 10) / 2 = 23; the right one is its mirror image and ends at 17.
    spans = {1: (23, 27, 0.75), 2: (27, 31, 0.5), 3: (13, 17, 0.75), 4: (9, 13, 0.5)}
    for channel, (start, stop, value) in spans.items():
        expected = torch.zeros(SIZE)
        expected[start:stop, 4:20, 4:20] = value
        assert torch.equal(result[0, channel].as_tensor().float(), expected), channel


def test_one_box_of_both_sides_keeps_its_gray_scale():
    image, ids = head()
    seen = []

    def second(box, network):
        seen.append(box)
        probabilities = torch.zeros(1, 25, *box.shape[2:])
        probabilities[:, 24] = 1
        return probabilities

    result = inferer(second, "hippocampus_fs60", (30, 16, 16), False)(image, None, ids)
    assert torch.equal(seen[0], image[..., 5:35, 4:20, 4:20].as_tensor())
    assert result[0, 24].sum() == 30 * 16 * 16
    assert result[0, 0].sum() == np.prod(SIZE) - 30 * 16 * 16


def test_what_lies_beyond_the_middle_belongs_to_the_other_side():
    image, ids = head()

    def second(box, network):
        probabilities = torch.zeros(1, 3, *box.shape[2:])
        probabilities[:, 1] = 1
        return probabilities

    result = inferer(second, "hippocampus_head_tail", (32, 16, 16), True)(image, None, ids)
    left, right = result[0, 1], result[0, 3]
    assert left[20:, 4:20, 4:20].all()
    assert not left[:20].any()
    assert right[:20, 4:20, 4:20].all()
    assert not right[20:].any()


def test_sides_that_are_exchanged_are_refused():
    image, ids = head()
    with pytest.raises(InputError, match=r"scan.nii: the left hippocampus lies to the right of the right one"):
        inferer(None, "hippocampus_head_tail", (32, 16, 16), True)(image, None, ids.flip(2))


def first_third_is_anterior(box, network):
    """A network that sees a hippocampus in the middle of the box, its first rows anterior."""
    probabilities = torch.zeros(1, 3, *box.shape[2:])
    probabilities[:, 1, :, 4:7, 4:12], probabilities[:, 2, :, 7:12, 4:12] = 0.75, 0.75
    probabilities[:, 0] = 1 - probabilities.sum(dim=1)
    return probabilities


def test_the_parts_fill_the_label_map_that_is_given():
    image, ids = head()
    result = inferer(first_third_is_anterior, "hippocampus_head_tail", (12, 16, 16), True, fill=True)(image, None, ids)
    classes = result[0].argmax(dim=0)
    assert torch.equal((classes == 1) | (classes == 2), ids[0, 0] == 17)
    assert torch.equal((classes == 3) | (classes == 4), ids[0, 0] == 53)
    # The box begins at 4: its rows 4 to 6 are 8 to 10 of the head, and the hippocampus reaches from 8 to 15.
    assert torch.equal((classes == 1).any(dim=2).any(dim=0).nonzero()[:, 0], torch.arange(8, 11))
    assert torch.equal((classes == 2).any(dim=2).any(dim=0).nonzero()[:, 0], torch.arange(11, 16))


@pytest.mark.parametrize("fill", [True, False])
def test_hippocampi_of_another_head_are_refused(fill):
    """Such as those of a label map of another person, whose volumes would pass."""
    image, ids = head()

    def elsewhere(box, network):
        return first_third_is_anterior(box, network).roll(8, dims=-2)

    network = inferer(elsewhere, "hippocampus_head_tail", (12, 16, 16), True, fill=fill)
    with pytest.raises(InputError, match=r"scan.nii: the left hippocampus of the label map .* in 0% of its voxels"):
        network(image, None, ids)


def test_the_parts_add_up_to_what_the_first_network_finds():
    image, ids = head()
    labels = LabelTable.load("subcortical")
    found = torch.zeros(1, len(labels), *SIZE, dtype=torch.float16)
    for entry in labels:
        found[0, entry.index][ids[0, 0] == entry.id] = 0.4375 if entry.id else 1
    found[0, 20][ids[0, 0] > 0] = 0.375  # ahead of each other structure, but less than half
    found[0, 0] += 1 - found[0].sum(dim=0)
    box = (slice(4, 36), slice(2, 22), slice(3, 20))
    shifted = image.affine.clone()
    shifted[:3] = image.affine[:3] @ torch.tensor([[1, 0, 0, 4], [0, 1, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]).to(shifted)
    first = {"first_inferer": lambda *_: MetaTensor(found[(..., *box)], affine=shifted), "fill": True}
    result = inferer(first_third_is_anterior, "hippocampus_head_tail", (12, 16, 16), True, **first)(image, None)
    for parts, label in ((result[0, 1:3], 17), (result[0, 3:5], 53)):
        expected = 0.4375 * (ids[0, 0] == label)
        torch.testing.assert_close(parts.sum(dim=0).as_tensor().float(), expected, rtol=0, atol=1e-3)
    assert torch.equal(result[0].argmax(dim=0) > 0, ids[0, 0] > 0)


def test_a_voxel_that_the_network_does_not_see_takes_its_parts_from_the_nearest_that_it_does():
    parts = torch.zeros(2, 6, 1, 1)
    parts[0, 1], parts[:, 3, 0, 0] = 0.75, torch.tensor([0.25, 0.5])
    outline = torch.tensor([1, 1, 0, 1, 0.5, 0.5])[:, None, None]
    shares = fill_outline(parts, outline)[:, :, 0, 0]
    torch.testing.assert_close(shares[0], torch.tensor([1, 1, 0, 1 / 3, 1 / 6, 1 / 6]))
    torch.testing.assert_close(shares[1], torch.tensor([0, 0, 0, 2 / 3, 1 / 3, 1 / 3]))


def test_a_hippocampus_that_the_network_sees_nowhere_is_not_divided():
    parts = torch.full((2, 4, 4, 4), 0.1)
    assert not fill_outline(parts, torch.ones(4, 4, 4)).any()


def test_one_box_of_both_sides_is_not_filled():
    with pytest.raises(InputError, match="--fill False"):
        inferer(None, "hippocampus_fs60", (30, 16, 16), False, fill=True)
