"""Engines that run a workflow."""

from __future__ import annotations

from monai_mamba.engines.scan_evaluator import ScanEvaluator

__all__ = ["ScanEvaluator"]
