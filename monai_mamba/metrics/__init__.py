"""Metrics that compare label maps, and their tables."""

from monai_mamba.metrics.region_scores import RegionScoresMetric
from monai_mamba.metrics.score_tables import write_region_tables, write_score_tables
from monai_mamba.metrics.structure_scores import StructureScoresMetric
from monai_mamba.metrics.volume_similarity import VolumeSimilarityMetric, compute_volume_similarity

__all__ = [
    "RegionScoresMetric",
    "StructureScoresMetric",
    "VolumeSimilarityMetric",
    "compute_volume_similarity",
    "write_region_tables",
    "write_score_tables",
]
