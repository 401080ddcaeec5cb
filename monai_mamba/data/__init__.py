"""Inputs of a run, label tables, and checks before it starts."""

from __future__ import annotations

from monai_mamba.data.bids import describe_derivatives
from monai_mamba.data.preflight import check_device, check_flags, check_output_dir
from monai_mamba.data.scans import find_scans
from monai_mamba.labels import LabelTable

__all__ = ["LabelTable", "check_device", "check_flags", "check_output_dir", "describe_derivatives", "find_scans"]
