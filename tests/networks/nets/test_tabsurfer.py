"""What is particular to TABSurfer."""

from __future__ import annotations

import pytest
import torch

from monai_mamba import TABSurfer

TINY = {
    "in_channels": 1,
    "out_channels": 2,
    "channels": (8, 8, 16, 16),
    "depth": 1,
    "num_heads": 2,
    "dropout_rate": 0.0,
}


def built(**arguments):
    torch.manual_seed(0)
    return TABSurfer(**(TINY | arguments)).eval()


def test_position_embedding_is_interpolated_for_other_sizes():
    network, larger = built(img_size=(8, 8, 16)), built(img_size=(16, 8, 16), mlp_dim=2 * 2 * 4)
    ramp = torch.linspace(-1, 1, 4).expand(1, 16, 2, 2, 4)  # constant along the axis that grows
    network.position.data.copy_(ramp)
    state = network.state_dict() | {"position": torch.linspace(-1, 1, 4).expand(1, 16, 4, 2, 4)}
    larger.load_state_dict(state)
    x = torch.randn(1, 1, 16, 8, 16)
    with torch.no_grad():
        torch.testing.assert_close(network(x), larger(x))
        before = network(x)
        network.position.zero_()
        assert not torch.allclose(network(x), before)


def test_hidden_width_of_the_mlps_is_the_number_of_tokens():
    assert built(img_size=(8, 16, 24)).blocks[0].mlp.linear1.out_features == 2 * 4 * 6
    assert built(img_size=8, mlp_dim=5).blocks[0].mlp.linear1.out_features == 5


def test_unused_norm_is_counted_but_frozen_and_without_effect():
    network = built(img_size=8)
    x = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        before = network(x)
        network.unused_norm.weight.fill_(5)
        assert torch.equal(network(x), before)
    assert not any(p.requires_grad for p in network.unused_norm.parameters())


def test_img_size_must_fit_the_strides():
    with pytest.raises(ValueError, match=r"img_size must be multiples of 4, got \(8, 8, 10\)"):
        built(img_size=(8, 8, 10))
