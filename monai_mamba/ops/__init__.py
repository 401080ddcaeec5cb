"""The selective scan of Mamba, along one sequence or along several traversals of a volume."""

from .choice import explain, scan_backend, set_scan_backend
from .dispatch import cross_selective_scan, selective_scan

__all__ = ["cross_selective_scan", "explain", "scan_backend", "selective_scan", "set_scan_backend"]
