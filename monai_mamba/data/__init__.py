"""Inputs of a run: which files it takes, how they are checked and paired, and what describes its results."""

from monai_mamba.data.aseg import add_asegs
from monai_mamba.data.bids import describe_derivatives
from monai_mamba.data.cases import find_cases, find_labeled_cases
from monai_mamba.data.folds import split_folds
from monai_mamba.data.image_reader import VerifyingNibabelReader
from monai_mamba.data.image_writer import AtomicNibabelWriter
from monai_mamba.data.label_maps import find_label_maps
from monai_mamba.data.label_values import with_label_ids
from monai_mamba.data.modalities import modality_subsets, with_subsets
from monai_mamba.data.pairs import find_pairs, split_pairs
from monai_mamba.data.quality import QualityLimits
from monai_mamba.data.scan_table import describe_pairs, draw_weights, split_fold
from monai_mamba.data.scans import find_scans

__all__ = [
    "AtomicNibabelWriter",
    "QualityLimits",
    "VerifyingNibabelReader",
    "add_asegs",
    "describe_derivatives",
    "describe_pairs",
    "draw_weights",
    "find_cases",
    "find_label_maps",
    "find_labeled_cases",
    "find_pairs",
    "find_scans",
    "modality_subsets",
    "split_fold",
    "split_folds",
    "split_pairs",
    "with_label_ids",
    "with_subsets",
]
