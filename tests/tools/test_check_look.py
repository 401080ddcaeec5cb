"""What lies outside the box of a look, in scans that are turned and cut."""

from __future__ import annotations

import csv
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
from head_phantom import LEFT, centered_affine, make_head
from monai.transforms.utils import generate_spatial_bounding_box
from tiny_bundle import SHAPE, make_tiny_bundle

from monai_mamba.inferers import CoarseToFineInferer


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> dict[str, dict[str, str]]:
    """The table of a phantom, by condition; the look finds the bright structure, on the right side, alone."""
    import check_look

    def find_box(self: CoarseToFineInferer, image: torch.Tensor, network: torch.nn.Module) -> tuple[slice, ...] | None:
        low, high = generate_spatial_bounding_box(image[0], lambda values: values > 0.7, margin=1)
        sizes = np.subtract(high, low)
        return tuple(map(slice, low, high)) if max(sizes) < 20 else None  # else tissue is brightest

    bundle, output = make_tiny_bundle(tmp_path_factory.mktemp("bundle")), tmp_path_factory.mktemp("output")
    scan = next((bundle / "sample_data").glob("*_T1w.nii.gz"))
    image = nib.load(scan)
    values = np.array(image.dataobj)
    values[-1, -1, -1] = 0  # air in each half: two values alone are a mask
    nib.save(nib.Nifti1Image(values, image.affine), scan)
    command = ["check_look.py", "--dataset_dir", bundle / "sample_data", "--output_dir", output]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check_look, "BUNDLE", bundle)
        patch.setattr(CoarseToFineInferer, "find_box", find_box)
        patch.setattr(sys, "argv", list(map(str, command)))
        assert check_look.main() == 0
    with (output / "look.tsv").open() as file:
        return {row["condition"]: row for row in csv.DictReader(file, delimiter="\t")}


def test_all_conditions_are_there(rows):
    assert len(rows) == 1 + 6 + 6


@pytest.mark.parametrize("condition", ["unaltered", "pitch-15", "pitch-30", "roll-15", "roll-30", "yaw-15", "yaw-30"])
def test_only_the_structure_beside_the_box_is_outside(rows, condition):
    row, labels = rows[condition], make_head(SHAPE, centered_affine(SHAPE, np.eye(3)))[1]
    structure, count = row["structures_outside"].rsplit(" ", 1)
    assert structure == "Left-Hippocampus"
    assert int(count) == int(row["outside"]) == pytest.approx((labels == LEFT).sum(), rel=0.05)
    assert int(row["voxels"]) == pytest.approx((labels > 0).sum(), rel=0.05)


def test_halves_have_the_structures_of_their_side(rows):
    for sides in (("left", "right"), ("back", "front"), ("lower", "upper")):
        pair = [rows[f"{side}-half"] for side in sides]
        assert sum(int(row["voxels"]) for row in pair) == int(rows["unaltered"]["voxels"])
    # The dark structure lies left, low and in the back, the bright one right, high and in front.
    assert all(rows[name]["box_mm"] != "unsure" for name in ("right-half", "upper-half", "front-half"))
    assert rows["left-half"]["box_mm"] == "unsure"
    assert rows["left-half"]["outside"] == "0"
