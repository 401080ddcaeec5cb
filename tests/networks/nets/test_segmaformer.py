"""What is particular to SegMaFormer."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from monai_mamba import SegMaFormer
from monai_mamba.errors import InputError
from monai_mamba.networks.blocks.hybrid_mamba import AttentionMixer, HybridMixer
from monai_mamba.networks.layers.rotary import rotate_by_position

TINY = {"in_channels": 1, "out_channels": 2, "channels": (6, 6, 6, 12), "num_heads": 2, "decoder_channels": 8}


def built(**arguments):
    torch.manual_seed(0)
    return SegMaFormer(**(TINY | arguments)).eval()


def test_fusing_before_the_interpolation_is_fusing_after_it():
    network = built(layer_scale=1.0)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
        x = image = torch.randn(1, 1, 32, 64, 32)
        taps = []
        for i in range(4):
            x = network.embeddings[i](x).movedim(1, -1)
            x = network.stages[i](network.norms[i](rotate_by_position(x)))
            x = (network.last_norm(x) if i == 3 else x).movedim(-1, 1)
            tapped = network.projections[i](network.tap_norms[i](x).movedim(1, -1)).movedim(-1, 1)
            taps.append(functional.interpolate(tapped, size=(8, 16, 8), mode="trilinear"))
        y = functional.conv3d(torch.cat(taps, dim=1), network.fuse.weight[:, :, None, None, None])
        y = network.head(network.fuse_norm(y).relu())
        expected = functional.interpolate(y, scale_factor=4, mode="trilinear")
        torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-5)


def test_scans_come_early_and_attention_late():
    kinds = [[type(block.mixer) for block in stage] for stage in built().stages]
    assert kinds == [[HybridMixer] * 2, [HybridMixer] * 2, [HybridMixer], [AttentionMixer]]


def test_position_matters():
    network = built()
    x = torch.ones(1, 1, 64, 32, 32)  # the same everywhere, but for the zeros around the volume
    with torch.no_grad():
        deepest = rotate_by_position(network.embeddings[0](x).movedim(1, -1))
    inner = deepest[0, 2:-2, 4, 4]
    assert not torch.allclose(inner[0], inner[1], atol=1e-3)


def test_one_number_per_stage():
    for argument in ("channels", "depths", "d_state", "expand"):
        with pytest.raises(ValueError, match=f"{argument} must have"):
            built(**{argument: (6, 6)})


def test_one_cell_at_the_deepest_stage_is_refused():
    with pytest.raises(InputError, match=r"got \(32, 32, 32\); pad an axis to 64"):
        built()(torch.zeros(1, 1, 32, 32, 32))
