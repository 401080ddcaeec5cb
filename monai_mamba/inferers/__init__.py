"""Ways to run a network over an image."""

from monai_mamba.inferers.autocast import AutocastInferer
from monai_mamba.inferers.coarse_to_fine import CoarseToFineInferer
from monai_mamba.inferers.hippocampus import HippocampusInferer
from monai_mamba.inferers.sliding_window import SlidingWindowProbabilityInferer

__all__ = ["AutocastInferer", "CoarseToFineInferer", "HippocampusInferer", "SlidingWindowProbabilityInferer"]
