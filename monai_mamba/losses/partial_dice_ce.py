"""Dice and cross-entropy where a label map leaves the class of some voxels open."""

from __future__ import annotations

import torch
from monai.losses import DiceCELoss


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
