"""Optimizers that PyTorch and MONAI do not have."""

from monai_mamba.optimizers.muon import MuonAdamW

__all__ = ["MuonAdamW"]
