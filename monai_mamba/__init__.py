"""Mamba-hybrid networks for 3-D brain MRI, registered with MONAI by importing this package."""

from __future__ import annotations

__version__ = "0.1.0"
