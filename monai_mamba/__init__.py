"""Mamba-hybrid networks for 3-D brain MRI, and what MONAI bundles need around them.

Importing this package makes every public class and function below known to MONAI configs by its name alone.
"""

from monai_mamba import data, engines, handlers, inferers, labels, losses, metrics, optimizers, transforms
from monai_mamba.bundle import bundle_root, results_root, settings_in_use
from monai_mamba.checks import check_windows, preflight
from monai_mamba.inference import Segmentation, segment
from monai_mamba.networks import nets
from monai_mamba.networks.nets import *  # noqa: F403 - the networks' own list says which
from monai_mamba.version import __version__

__all__ = [
    *nets.__all__,
    "Segmentation",
    "__version__",
    "bundle_root",
    "check_windows",
    "data",
    "engines",
    "handlers",
    "inferers",
    "labels",
    "losses",
    "metrics",
    "optimizers",
    "preflight",
    "results_root",
    "segment",
    "settings_in_use",
    "transforms",
]
