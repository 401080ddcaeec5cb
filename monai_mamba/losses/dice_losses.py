"""MONAI's loss of Dice and cross-entropy for three kinds of labels: classes, sets of classes, and regions."""

from __future__ import annotations

from typing import Any

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


class PartialLabelDiceCELoss(DiceCELoss):
    """MONAI's ``DiceCELoss`` for voxels that may belong to one of several classes.

    The target of such a voxel is the network's own belief, restricted to the classes that are allowed. For
    cross-entropy this has the gradient of ``-log sum(p[allowed])``: any share between them is right. Where one class
    is allowed, it is the usual loss.

    Args:
        kwargs: of ``DiceCELoss``, except ``to_onehot_y`` and ``softmax``.
    """

    def __init__(self, **kwargs: object) -> None:
        super().__init__(softmax=True, **kwargs)

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:  # noqa: A002, MONAI's names
        """Return the loss.

        Args:
            input: logits ``(B, K, H, W, D)``, K <= 63.
            target: int64 ``(B, 1, H, W, D)``, bit k set where class k is allowed, as `ToAllowedClassesd` makes them.
        """
        classes = torch.arange(input.shape[1], device=input.device).view(1, -1, *[1] * (input.ndim - 2))
        allowed = (target >> classes) & 1 == 1
        belief = input.detach().float().masked_fill(~allowed, -torch.inf).softmax(1)
        return super().forward(input, belief)


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
