"""Dice and cross-entropy, of which the cross-entropy weighs the classes."""

from __future__ import annotations

import torch
from monai.losses import DiceCELoss
from torch import nn


class WeightedDiceCELoss(DiceCELoss):
    """MONAI's ``DiceCELoss`` whose class weights are those of the cross-entropy alone; MONAI gives them to Dice, too.

    The background takes part in Dice: it alone penalizes classes that are predicted in a window without them.

    Args:
        class_weights: weight of each class in the cross-entropy, background first; all equal if None.
    """

    def __init__(self, class_weights: torch.Tensor | None = None) -> None:
        super().__init__(to_onehot_y=True, softmax=True)
        self.cross_entropy = nn.CrossEntropyLoss(weight=class_weights)

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:  # noqa: A002, MONAI's names
        """Loss of logits ``(B, K, H, W, D)``, a scalar in float32 whatever their precision.

        The target is class indices ``(B, 1, H, W, D)``, whole numbers in 0..K-1 of any type.
        """
        return super().forward(input.float(), target)
