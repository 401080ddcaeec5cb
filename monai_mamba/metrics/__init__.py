"""Metrics that compare label maps, and their tables."""

from __future__ import annotations

from monai_mamba.metrics.structure_scores import StructureScoresMetric
from monai_mamba.metrics.volume_similarity import VolumeSimilarityMetric, compute_volume_similarity

__all__ = ["StructureScoresMetric", "VolumeSimilarityMetric", "compute_volume_similarity"]
