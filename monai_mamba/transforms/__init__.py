"""Transforms from an image file to the network's input, and from its output back to the file's grid."""

from __future__ import annotations

from monai_mamba.transforms.check_image import CheckImaged
from monai_mamba.transforms.conform import Conformd, ScaleIntensityRobustd
from monai_mamba.transforms.restore_labels import RestoreLabelsd

__all__ = ["CheckImaged", "Conformd", "RestoreLabelsd", "ScaleIntensityRobustd"]
