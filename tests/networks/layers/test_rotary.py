"""Rotation of features by their position."""

from __future__ import annotations

import math

import pytest
import torch

from monai_mamba.networks.layers.rotary import rotate_by_position


def test_rotation_by_hand():
    # 14 channels: two pairs per axis, and two channels that stay
    x = torch.randn(1, 2, 3, 4, 14, generator=torch.Generator().manual_seed(0))
    y = rotate_by_position(x, theta=100.0)
    position = (1, 2, 3)
    before, after = x[0][position], y[0][position]
    for axis in range(3):
        for i, frequency in enumerate((1.0, 0.1)):  # 100 ** (-i / 2)
            angle = position[axis] * frequency
            p, q = (before[4 * axis + i].item(), before[4 * axis + 2 + i].item())
            assert after[4 * axis + i].item() == pytest.approx(p * math.cos(angle) - q * math.sin(angle), abs=1e-6)
            assert after[4 * axis + 2 + i].item() == pytest.approx(p * math.sin(angle) + q * math.cos(angle), abs=1e-6)
    assert torch.equal(after[12:], before[12:])


def test_first_voxel_stays_and_norms_are_kept():
    x = torch.randn(2, 3, 2, 5, 12)
    y = rotate_by_position(x)
    assert torch.equal(y[:, 0, 0, 0], x[:, 0, 0, 0])
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1))


def test_fewer_than_six_channels_stay():
    x = torch.randn(1, 2, 2, 2, 5)
    assert torch.equal(rotate_by_position(x), x)


def test_keeps_the_type():
    assert rotate_by_position(torch.ones(1, 2, 2, 2, 6, dtype=torch.bfloat16)).dtype == torch.bfloat16
