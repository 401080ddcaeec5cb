"""The U-shaped CNN around the bottlenecks of two networks."""

from __future__ import annotations

import torch

from monai_mamba.networks.nets.residual_unet import ResidualUNetBase


class Plain(ResidualUNetBase):
    def bottleneck(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = x.shape
        return x


def test_every_level_halves_the_resolution_and_the_last_block_has_its_own_width():
    network = Plain(2, (4, 8, 16), "instance", "relu", repeats=1)
    network.add_decoder(final_channels=6, out_channels=3)
    features = network.features(torch.randn(1, 2, 8, 12, 4))
    assert network.seen == (1, 16, 4, 6, 2)
    assert features.shape == (1, 6, 8, 12, 4)
    assert network.head(features).shape == (1, 3, 8, 12, 4)
