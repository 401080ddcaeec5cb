"""Both sides are shown alike to one network, and its answers go back to where they belong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_mamba.data.labels import LabelTable
from monai_mamba.errors import InputError
from monai_mamba.inferers.hippocampus import HippocampusInferer
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


def inferer(second, table: str, roi_size: tuple[int, int, int], per_side: bool) -> HippocampusInferer:
    first = {"first_network": None, "first_inferer": None, "first_labels": LabelTable.load("subcortical")}
    return HippocampusInferer(
        **first, second_inferer=second, labels=LabelTable.load(table), roi_size=roi_size, per_side=per_side
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
