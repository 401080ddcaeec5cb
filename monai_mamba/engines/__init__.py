"""Engines that run a workflow, and how they take their batches."""

from monai_mamba.engines.scan_evaluator import ScanEvaluator
from monai_mamba.engines.subvoxel_batch import PrepareSubvoxelBatch

__all__ = ["PrepareSubvoxelBatch", "ScanEvaluator"]
