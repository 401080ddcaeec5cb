"""The loss for regions that overlap: Dice and binary cross-entropy of each."""

from __future__ import annotations

from typing import Any

import torch
from monai.losses import DiceCELoss


class RegionDiceBCELoss(DiceCELoss):
    """Dice loss plus binary cross-entropy of region logits, such as tumor core, whole tumor and enhancing tumor.

    MONAI's ``DiceCELoss(sigmoid=True)`` takes the sigmoid for its Dice part only: with more than one channel its
    cross-entropy is still that of a softmax, for which regions that contain each other are no classes.

    Args:
        batch: sum up a region over the batch before its Dice, so that samples without it do not count as misses.
        kwargs: of ``DiceCELoss``, except ``sigmoid``.
    """

    def __init__(self, batch: bool = True, **kwargs: Any) -> None:
        super().__init__(sigmoid=True, batch=batch, **kwargs)

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:  # noqa: A002, MONAI's names
        """Loss of logits and target ``(B, R, H, W, D)``, a scalar in float32 whatever the precision of the logits.

        The target is 1 in a region and 0 outside, of any type.
        """
        return super().forward(input.float(), target.float())

    def ce(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:  # noqa: A002
        """Binary cross-entropy, averaged over voxels, regions and batch."""
        return self.bce(input, target)
