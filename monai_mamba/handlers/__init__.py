"""Handlers of MONAI engines: what goes into a run and what comes out of it."""

from monai_mamba.handlers.brief_errors import BriefErrors
from monai_mamba.handlers.checkpoint import ResumableCheckpoint
from monai_mamba.handlers.ema import ResumableEMA
from monai_mamba.handlers.missing_classes import MissingClasses
from monai_mamba.handlers.nan_stop import NaNStop
from monai_mamba.handlers.result_grader import GradeResultd
from monai_mamba.handlers.result_saver import ResultSaver, TumorResultSaver
from monai_mamba.handlers.score_writer import ScoreWriter
from monai_mamba.handlers.weights import WeightsLoader, check_weights, load_weights, read_weights, save_weights

__all__ = [
    "BriefErrors",
    "GradeResultd",
    "MissingClasses",
    "NaNStop",
    "ResultSaver",
    "ResumableCheckpoint",
    "ResumableEMA",
    "ScoreWriter",
    "TumorResultSaver",
    "WeightsLoader",
    "check_weights",
    "load_weights",
    "read_weights",
    "save_weights",
]
