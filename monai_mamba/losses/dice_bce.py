"""The loss for regions that overlap: Dice and binary cross-entropy of each."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import nn
from torch.nn import functional


class RegionDiceBCELoss(nn.Module):
    """Dice loss plus binary cross-entropy of region logits, such as tumor core, whole tumor and enhancing tumor.

    MONAI's ``DiceCELoss(sigmoid=True)`` takes the sigmoid for its Dice part only: with more than one channel its
    cross-entropy is still that of a softmax, for which regions that contain each other are no classes.

    Args:
        dice_weight: factor of the Dice loss, >= 0, averaged over regions and batch.
        bce_weight: factor of the binary cross-entropy, >= 0, averaged over voxels, regions and batch.
        batch: sum up a region over the batch before its Dice, so that samples without it do not count as misses.

    Raises:
        ValueError: a factor is negative.
    """

    def __init__(self, dice_weight: float = 1.0, bce_weight: float = 1.0, batch: bool = True) -> None:
        super().__init__()
        if min(dice_weight, bce_weight) < 0:
            raise ValueError(f"Factors of the loss must be >= 0, got {dice_weight} and {bce_weight}.")
        self.dice_weight = dice_weight
        self.bce_weight = bce_weight
        self.dice = DiceLoss(sigmoid=True, batch=batch)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Loss of logits and target ``(B, R, H, W, D)``, a scalar in float32 whatever the precision of the logits.

        The target is 1 in a region and 0 outside, of any type.
        """
        logits, target = logits.float(), target.float()
        dice = self.dice(logits, target)
        return self.dice_weight * dice + self.bce_weight * functional.binary_cross_entropy_with_logits(logits, target)
