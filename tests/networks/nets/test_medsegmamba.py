"""What is particular to MedSegMamba."""

from __future__ import annotations

import pytest
import torch

from monai_mamba import MedSegMamba
from monai_mamba.errors import InputError

TINY = {"in_channels": 2, "out_channels": 3, "channels": (8, 8, 16), "depth": 1, "d_state": 2}


@pytest.mark.parametrize("stem_stride", [2, 3])
def test_one_subvoxel_is_a_strided_view_of_the_whole_output(stem_stride):
    torch.manual_seed(0)
    network = MedSegMamba(**TINY, stem_stride=stem_stride).eval()
    x = torch.randn(1, 2, *(network.stride * n for n in (1, 2, 1)))
    s = stem_stride
    logits = network(x).detach()
    with torch.no_grad():
        for i, j, k in torch.cartesian_prod(*[torch.arange(s)] * 3).tolist():
            one = network(x, subvoxel=(i * s + j) * s + k)
            torch.testing.assert_close(one, logits[:, :, i::s, j::s, k::s], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_slabs_are_the_output_slice_by_slice(stem_stride):
    torch.manual_seed(0)
    network = MedSegMamba(**TINY, stem_stride=stem_stride).eval()
    x = torch.randn(2, 2, *(network.stride * n for n in (2, 1, 1)))
    with torch.no_grad():
        slabs = list(network.slabs(x))
        assert {slab.shape[2] for slab in slabs} == {stem_stride}
        torch.testing.assert_close(torch.cat(slabs, dim=2), network(x), rtol=1e-5, atol=1e-6)
        with pytest.raises(InputError, match="multiple"):
            next(network.slabs(x[..., 1:]))


def test_blocks_go_through_the_orientations_in_turn():
    network = MedSegMamba(**(TINY | {"depth": 9}))
    assert [block.mixer.orientation for block in network.blocks] == [0, 1, 2, 3, 4, 5, 0, 1, 2]


def test_published_decoder_ends_with_twice_the_first_width():
    assert MedSegMamba(**TINY).head.in_channels == 16
    assert MedSegMamba(**TINY, final_channels=8).head.in_channels == 8


def test_a_network_without_a_decoder_is_refused():
    with pytest.raises(ValueError, match=r"channels must name two encoder levels or more .* got \[8, 16\]"):
        MedSegMamba(channels=(8, 16))


def test_subvoxels_start_equal():
    network = MedSegMamba(out_channels=3, channels=(8, 8, 8), depth=0, d_state=2, stem_stride=2)
    logits = network.eval()(torch.rand(1, 1, 16, 16, 16))
    cells = logits.unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).flatten(5)
    torch.testing.assert_close(cells, cells[..., :1].expand_as(cells))


@pytest.mark.parametrize("subvoxel", [8, -1])
def test_a_subvoxel_that_is_not_there_is_refused(subvoxel):
    network = MedSegMamba(out_channels=3, channels=(8, 8, 8), depth=0, d_state=2, stem_stride=2)
    with pytest.raises(InputError, match=f"subvoxel is {subvoxel}, expected 0 to 7"):
        network(torch.rand(1, 1, 16, 16, 16), subvoxel=subvoxel)
