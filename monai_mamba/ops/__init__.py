"""The selective scan of Mamba, along one sequence or along several traversals of a volume."""

from __future__ import annotations

from .dispatch import cross_selective_scan, explain, scan_backend, selective_scan, set_scan_backend

__all__ = ["cross_selective_scan", "explain", "scan_backend", "selective_scan", "set_scan_backend"]
