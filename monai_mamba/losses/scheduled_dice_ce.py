"""The loss of the MedSegMamba recipe: Dice with weighted cross-entropy first, then Dice alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ignite.engine import Engine, Events
from monai.losses import DiceLoss
from torch import nn


class ScheduledDiceCELoss(nn.Module):
    """Dice loss plus a weighted cross-entropy whose share changes after the first epochs.

    The published recipe (arXiv 2409.08307, training details) adds weighted cross-entropy in the first epoch only. Where
    Dice on its own then loses small classes, a `ce_weight_after` above 0 keeps the cross-entropy against that.

    The loss is also a handler: put it into the handlers of the trainer, which then tells it the epoch. The epoch comes
    from the trainer's state, so a resumed training goes on with the right share.

    Args:
        ce_weight: share of the cross-entropy in the first `ce_epochs` epochs, >= 0.
        ce_epochs: number of these epochs.
        ce_weight_after: share of the cross-entropy from then on, >= 0.
        class_weights: weight of each class in the cross-entropy, background first; all equal if None.

    Raises:
        ValueError: a share is negative.
    """

    def __init__(
        self,
        ce_weight: float = 1.0,
        ce_epochs: int = 1,
        ce_weight_after: float = 0.0,
        class_weights: Sequence[float] | torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        if min(ce_weight, ce_weight_after) < 0:
            raise ValueError(f"Shares of the cross-entropy must be >= 0, got {ce_weight} and {ce_weight_after}.")
        self.ce_weight_first = ce_weight
        self.ce_weight_after = ce_weight_after
        self.ce_epochs = ce_epochs
        self.ce_weight = ce_weight
        # The background takes part in Dice: it alone penalizes classes that are predicted in a window without them.
        self.dice = DiceLoss(to_onehot_y=True, softmax=True)
        weight = None if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float32)
        self.cross_entropy = nn.CrossEntropyLoss(weight=weight)

    def attach(self, engine: Engine) -> None:
        """Follow the epochs of a MONAI trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._set_share)

    def _set_share(self, engine: Engine) -> None:
        self.ce_weight = self.ce_weight_first if engine.state.epoch <= self.ce_epochs else self.ce_weight_after

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Loss of logits ``(B, K, H, W, D)``, a scalar in float32 whatever their precision.

        The target is class indices ``(B, 1, H, W, D)``, whole numbers in 0..K-1 of any type.
        """
        logits, target = logits.float(), target.long()
        loss = self.dice(logits, target)
        if self.ce_weight > 0:
            loss = loss + self.ce_weight * self.cross_entropy(logits, target[:, 0])
        return loss
