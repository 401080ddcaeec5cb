"""What is particular to SegMamba."""

from __future__ import annotations

import pytest
import torch

from monai_mamba import SegMamba
from monai_mamba.errors import InputError

TINY = {"in_channels": 1, "out_channels": 2, "channels": (8, 8, 8, 8, 16), "depths": (1, 1, 1, 1), "d_state": 2}


def test_slices_default_to_the_first_axis_of_each_stage():
    torch.manual_seed(0)
    network = SegMamba(**TINY).eval()
    fixed = SegMamba(**TINY, num_slices=(16, 8, 4, 2)).eval()
    other = SegMamba(**TINY, num_slices=(8, 8, 4, 2)).eval()
    for twin in (fixed, other):
        twin.load_state_dict(network.state_dict())
    x = torch.randn(1, 1, 32, 16, 16)
    with torch.no_grad():
        assert torch.equal(network(x), fixed(x))
        assert not torch.equal(network(x), other(x))


@pytest.mark.parametrize("argument", ["channels", "depths", "num_slices"])
def test_one_number_per_stage(argument):
    with pytest.raises(ValueError, match=f"{argument} must have"):
        SegMamba(**(TINY | {argument: (8, 8, 8)}))


def test_one_cell_at_the_deepest_stage_is_refused():
    with pytest.raises(InputError, match=r"got \(16, 16, 16\); pad an axis to 32"):
        SegMamba(**TINY)(torch.zeros(1, 1, 16, 16, 16))
