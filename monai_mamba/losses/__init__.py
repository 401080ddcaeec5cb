"""Losses, and the class weights they take."""

from monai_mamba.losses.class_weights import class_weights
from monai_mamba.losses.dice_losses import PartialLabelDiceCELoss, RegionDiceBCELoss, WeightedDiceCELoss
from monai_mamba.losses.self_distillation import SelfDistillationLoss

__all__ = [
    "PartialLabelDiceCELoss",
    "RegionDiceBCELoss",
    "SelfDistillationLoss",
    "WeightedDiceCELoss",
    "class_weights",
]
