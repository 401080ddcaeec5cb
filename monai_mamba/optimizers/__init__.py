"""Optimizers that PyTorch and MONAI do not have."""

from __future__ import annotations

from monai_mamba.optimizers.muon import MuonAdamW

__all__ = ["MuonAdamW"]
