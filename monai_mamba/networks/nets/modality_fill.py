"""What a network sees in the place of a modality that is missing."""

from __future__ import annotations

import torch
from torch import nn


class MissingModalityFill(nn.Module):
    """A network behind one learned number per modality, which stands for the modality where it is missing.

    A channel that is 0 in a whole window while another is not counts as missing there; inside the brain (where any
    channel is not 0) it gets its learned value. Constant mask channels, the other way to say what is missing, would be
    removed by the instance normalization behind the first convolution of most networks; the border of the brain makes
    this one visible, and the network keeps its input channels and its number of parameters.

    Args:
        network: takes images `(B, in_channels, H, W, D)`.
        in_channels: modalities.
    """

    def __init__(self, network: nn.Module, in_channels: int = 4) -> None:
        super().__init__()
        self.network = network
        # A little off 0, the mean of a normalized modality, so that missing differs from average from the start.
        self.fill = nn.Parameter(torch.full((in_channels,), -0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Output of the network for `(B, in_channels, H, W, D)`."""
        inside = x != 0
        missing = ~inside.flatten(2).any(dim=2)[..., None, None, None]
        fill = self.fill.to(x.dtype).view(1, -1, 1, 1, 1)
        return self.network(x + fill * (missing & inside.any(dim=1, keepdim=True)))
