"""Handlers of MONAI engines: what goes into a run and what comes out of it."""

from __future__ import annotations

from monai_mamba.handlers.result_saver import ResultSaver
from monai_mamba.handlers.weights import WeightsLoader, check_weights

__all__ = ["ResultSaver", "WeightsLoader", "check_weights"]
