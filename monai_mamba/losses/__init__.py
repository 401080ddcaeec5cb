"""Losses, and the class weights they take."""

from __future__ import annotations

from monai_mamba.losses.scheduled_dice_ce import ScheduledDiceCELoss
from monai_mamba.losses.subsampled import SubsampledLoss

__all__ = ["ScheduledDiceCELoss", "SubsampledLoss"]
