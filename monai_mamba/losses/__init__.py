"""Losses, and the class weights they take."""

from __future__ import annotations

from monai_mamba.losses.scheduled_dice_ce import ScheduledDiceCELoss

__all__ = ["ScheduledDiceCELoss"]
