"""Segmentation networks."""

from __future__ import annotations

from monai_mamba.networks.nets.medsegmamba import MedSegMamba, medsegmamba_small
from monai_mamba.networks.nets.segmamba import SegMamba, segmamba_small
from monai_mamba.networks.nets.segmamba_bot import SegMambaBot, segmamba_bot_small
from monai_mamba.networks.nets.tabsurfer import TABSurfer, tabsurfer_small

__all__ = [
    "MedSegMamba",
    "SegMamba",
    "SegMambaBot",
    "TABSurfer",
    "medsegmamba_small",
    "segmamba_bot_small",
    "segmamba_small",
    "tabsurfer_small",
]
