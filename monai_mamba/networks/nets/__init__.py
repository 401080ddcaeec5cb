"""Segmentation networks. A network that is imported and named here is known to the package and to MONAI configs."""

from monai_mamba.networks.nets.medsegmamba import MedSegMamba, medsegmamba_small
from monai_mamba.networks.nets.modality_fill import MissingModalityFill
from monai_mamba.networks.nets.msd_kmamba import MSDKMamba, msd_kmamba_large, msd_kmamba_small
from monai_mamba.networks.nets.segmaformer import SegMaFormer
from monai_mamba.networks.nets.segmamba import SegMamba, segmamba_small
from monai_mamba.networks.nets.segmamba_bot import SegMambaBot, segmamba_bot_small
from monai_mamba.networks.nets.tabsurfer import TABSurfer, tabsurfer_small

__all__ = [
    "MSDKMamba",
    "MedSegMamba",
    "MissingModalityFill",
    "SegMaFormer",
    "SegMamba",
    "SegMambaBot",
    "TABSurfer",
    "medsegmamba_small",
    "msd_kmamba_large",
    "msd_kmamba_small",
    "segmamba_bot_small",
    "segmamba_small",
    "tabsurfer_small",
]
