"""Which classes a voxel may have where a label map does not know all of them."""

from __future__ import annotations

import pytest
import torch

from monai_mamba.errors import InputError
from monai_mamba.labels import LabelTable
from monai_mamba.transforms.allowed_classes import ToAllowedClassesd

LABELS = LabelTable.load("subcortical")
INDEX = LABELS.index_of_id


def allowed(label_id: int, missing: str | None) -> set[int]:
    """Ids that a voxel with this id in the map may have."""
    data = {"label": torch.full((1, 2, 2, 2), INDEX[label_id], dtype=torch.uint8)}
    if missing is not None:
        data["missing"] = missing
    bits = ToAllowedClassesd("label", LABELS)(data)["label"]
    assert bits.shape == (1, 2, 2, 2)
    assert bits.dtype == torch.int64
    return {entry.id for entry in LABELS if int(bits[0, 0, 0, 0]) >> entry.index & 1}


@pytest.mark.parametrize(
    ("label_id", "missing", "ids"),
    [
        (0, None, {0}),
        (42, "", {42}),
        (0, "24,77", {0, 24}),
        (2, "24,77", {2, 77}),
        (41, "24,77", {41, 77}),
        (4, "31,63", {4, 31}),
        (44, "31,63", {44, 63}),
        (17, "24,31,63,77", {17}),
    ],
)
def test_a_voxel_may_be_what_its_map_says_or_what_the_map_calls_the_same(label_id, missing, ids):
    assert allowed(label_id, missing) == ids


@pytest.mark.parametrize("missing", ["17", "999", "CSF", "24;77"])
def test_an_id_that_nothing_stands_for_is_refused(missing):
    with pytest.raises(InputError, match=r"call something else, 77, 24, 31, 63\."):
        allowed(0, missing)
