"""Losses, and the class weights they take."""

from monai_mamba.losses.class_weights import class_weights
from monai_mamba.losses.dice_bce import RegionDiceBCELoss
from monai_mamba.losses.partial_dice_ce import PartialLabelDiceCELoss
from monai_mamba.losses.self_distillation import SelfDistillationLoss
from monai_mamba.losses.weighted_dice_ce import WeightedDiceCELoss

__all__ = [
    "PartialLabelDiceCELoss",
    "RegionDiceBCELoss",
    "SelfDistillationLoss",
    "WeightedDiceCELoss",
    "class_weights",
]
