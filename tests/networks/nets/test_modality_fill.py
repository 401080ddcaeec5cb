"""What a network sees in the place of a missing modality."""

from __future__ import annotations

import torch
from torch import nn

from monai_mamba.networks.nets.modality_fill import MissingModalityFill


def filled() -> MissingModalityFill:
    layer = MissingModalityFill(nn.Identity())
    layer.fill.data = torch.tensor([1.0, 2.0, 3.0, 4.0])
    return layer


def test_missing_channels_are_filled_inside_the_brain_of_their_own_case():
    x = torch.zeros(2, 4, 3, 3, 3)
    x[0, :2, 1] = -1.5  # the first case lacks the last two modalities
    x[1, 3, 0] = 0.5  # the second has only the last
    y = filled()(x)
    assert torch.equal(y[0, :2], x[0, :2])
    assert torch.equal(y[1, 3], x[1, 3])
    for case, channel, plane in ((0, 2, 1), (0, 3, 1), (1, 0, 0), (1, 1, 0), (1, 2, 0)):
        expected = torch.zeros(3, 3, 3)
        expected[plane] = channel + 1
        assert torch.equal(y[case, channel], expected)


def test_a_complete_case_passes_unchanged_and_an_empty_window_stays_empty():
    x = torch.randn(1, 4, 3, 3, 3)
    assert torch.equal(filled()(x), x)
    assert not filled()(torch.zeros(1, 4, 3, 3, 3)).any()


def test_the_fill_is_learned():
    x = torch.zeros(1, 4, 3, 3, 3)
    x[:, 0] = 1
    layer = filled()
    layer(x).sum().backward()
    assert layer.fill.grad.tolist() == [0.0, 27.0, 27.0, 27.0]
    layer.zero_grad()
    layer(torch.ones(1, 4, 3, 3, 3)).sum().backward()  # nothing missing: a gradient of 0, not none
    assert layer.fill.grad.tolist() == [0.0] * 4
