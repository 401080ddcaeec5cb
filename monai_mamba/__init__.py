"""Mamba-hybrid networks for 3-D brain MRI, and what MONAI bundles need around them.

Importing this package makes every public class and function below known to MONAI configs by its name alone.
"""

from __future__ import annotations

from monai_mamba import data, engines, handlers, inferers, labels, losses, metrics, optimizers, transforms
from monai_mamba.bundle import bundle_root
from monai_mamba.checks import preflight
from monai_mamba.networks.nets import (
    MedSegMamba,
    MissingModalityFill,
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
    "MissingModalityFill",
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
    "labels",
    "losses",
    "medsegmamba_small",
    "metrics",
    "msd_kmamba_large",
    "msd_kmamba_small",
    "optimizers",
    "preflight",
    "segmamba_bot_small",
    "segmamba_small",
    "tabsurfer_small",
    "transforms",
]
