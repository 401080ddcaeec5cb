"""Losses, and the class weights they take."""

from monai_mamba.losses.class_weights import class_weights
from monai_mamba.losses.dice_bce import RegionDiceBCELoss
from monai_mamba.losses.partial_dice_ce import PartialLabelDiceCELoss
from monai_mamba.losses.scheduled_dice_ce import ScheduledDiceCELoss
from monai_mamba.losses.self_distillation import SelfDistillationLoss

__all__ = [
    "PartialLabelDiceCELoss",
    "RegionDiceBCELoss",
    "ScheduledDiceCELoss",
    "SelfDistillationLoss",
    "class_weights",
]
