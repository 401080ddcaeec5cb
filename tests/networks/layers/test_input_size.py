"""Sizes that a network refuses, and how it says so."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_mamba.errors import InputError
from monai_mamba.networks.layers.input_size import check_spatial_size


class Net(nn.Module):
    stride = 8


def test_multiples_pass_also_when_the_box_is_not_a_cube():
    check_spatial_size(torch.empty(1, 1, 8, 16, 24), Net())


@pytest.mark.parametrize(("size", "axis"), [((9, 8, 8), "H"), ((8, 17, 8), "W"), ((8, 8, 4), "D")])
def test_error_names_axis_size_and_multiple(size, axis):
    found = size["HWD".index(axis)]
    padded = -(-found // 8) * 8
    with pytest.raises(InputError, match=rf"multiples of 8, but axis {axis} has {found} voxels: .* to {padded}\."):
        check_spatial_size(torch.empty(1, 1, *size), Net())


def test_error_for_a_missing_batch_axis():
    with pytest.raises(InputError, match=r"expects an image \(B, C, H, W, D\), got shape \(1, 8, 8, 8\)"):
        check_spatial_size(torch.empty(1, 8, 8, 8), Net())


def test_one_cell_at_the_deepest_stage_is_refused():
    net = Net()
    net.normalizes = True
    with pytest.raises(
        InputError, match=r"Net needs more than one cell of 8 voxels .* got \(8, 8, 8\); pad an axis to 16"
    ):
        check_spatial_size(torch.empty(1, 1, 8, 8, 8), net)
    check_spatial_size(torch.empty(1, 1, 8, 8, 16), net)
    check_spatial_size(torch.empty(1, 1, 8, 8, 8), Net())
