"""A loss on a sub-lattice of the voxels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

__all__ = ["SubsampledLoss"]


class SubsampledLoss(nn.Module):
    """Mean of a loss over a few randomly placed sub-lattices of the volume, in float32.

    Neighbouring voxels teach almost the same, while softmax and Dice over many classes cost more than a small network: a fraction
    ``samples / stride**3`` of the voxels gives the same gradient in expectation for voxel-wise losses.

    Args:
        loss: called with ``input`` ``(B, K, h, w, d)`` and ``target`` ``(B, 1, h, w, d)`` of each sub-lattice.
        stride: distance of its voxels on every axis.
        samples: sub-lattices per call.
    """

    def __init__(self, loss: Callable, stride: int = 2, samples: int = 2) -> None:
        super().__init__()
        self.loss = loss
        self.stride = stride
        self.samples = samples

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:  # noqa: A002 (torch's name)
        """``(B, K, H, W, D)`` logits and ``(B, 1, H, W, D)`` class indices to a scalar."""
        losses = []
        for _ in range(self.samples):
            h, w, d = torch.randint(self.stride, (3,)).tolist()
            lattice = (..., slice(h, None, self.stride), slice(w, None, self.stride), slice(d, None, self.stride))
            losses.append(self.loss(input[lattice].float(), target[lattice]))
        return torch.stack(losses).mean()
