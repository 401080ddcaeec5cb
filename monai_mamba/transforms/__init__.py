"""Transforms from an image file to the network's input, and from its output back to the file's grid."""

from monai_mamba.transforms.check_image import CheckImaged
from monai_mamba.transforms.conform import Conformd, ScaleIntensityRobustd, is_no_air
from monai_mamba.transforms.crop_margins import RandCropMarginsd
from monai_mamba.transforms.hippocampus_box import LabeledBoxd
from monai_mamba.transforms.intracranial import IntracranialVolumed
from monai_mamba.transforms.load_modalities import LoadModalitiesd
from monai_mamba.transforms.paste_lesion import CutLesiond, RandPasteLesiond
from monai_mamba.transforms.random_modalities import RandDropModalitiesd, RandEachModalityd
from monai_mamba.transforms.restore_labels import RestoreLabelsd
from monai_mamba.transforms.scan_window import RandScanWindowd
from monai_mamba.transforms.synthesis import RandSynthesizeImaged, SynthesisTable, clear_frontal_horns
from monai_mamba.transforms.to_training_labels import ToAllowedClassesd, ToTrainingLabelsd
from monai_mamba.transforms.tumor_regions import RestoreTumorLabelsd, ToTumorRegionsd

__all__ = [
    "CheckImaged",
    "Conformd",
    "CutLesiond",
    "IntracranialVolumed",
    "LabeledBoxd",
    "LoadModalitiesd",
    "RandCropMarginsd",
    "RandDropModalitiesd",
    "RandEachModalityd",
    "RandPasteLesiond",
    "RandScanWindowd",
    "RandSynthesizeImaged",
    "RestoreLabelsd",
    "RestoreTumorLabelsd",
    "ScaleIntensityRobustd",
    "SynthesisTable",
    "ToAllowedClassesd",
    "ToTrainingLabelsd",
    "ToTumorRegionsd",
    "clear_frontal_horns",
    "is_no_air",
]
