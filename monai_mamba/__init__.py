"""Mamba-hybrid networks for 3-D brain MRI, registered with MONAI by importing this package."""

from __future__ import annotations

from monai_mamba import data, engines, handlers, inferers, optimizers, transforms
from monai_mamba.bundle import bundle_root
from monai_mamba.networks.nets import (
    MedSegMamba,
    MSDKMamba,
    SegMaFormer,
    SegMamba,
    SegMambaBot,
    TABSurfer,
    medsegmamba_small,
    msd_kmamba_large,
    msd_kmamba_small,
    segmamba_bot_small,
    segmamba_small,
    tabsurfer_small,
)
from monai_mamba.version import __version__

__all__ = [
    "MSDKMamba",
    "MedSegMamba",
    "SegMaFormer",
    "SegMamba",
    "SegMambaBot",
    "TABSurfer",
    "__version__",
    "bundle_root",
    "data",
    "engines",
    "handlers",
    "inferers",
    "medsegmamba_small",
    "msd_kmamba_large",
    "msd_kmamba_small",
    "optimizers",
    "segmamba_bot_small",
    "segmamba_small",
    "tabsurfer_small",
    "transforms",
]
