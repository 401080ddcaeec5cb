"""Run a bundle like `python -m monai.bundle`; the first argument is a JSON file for the seconds of its stages."""

from __future__ import annotations

import functools
import json
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from pydoc import locate
from typing import Any

STARTED = time.perf_counter()
STAGES = ("import", "read", "conform", "look", "windows", "back", "write")
METHODS = {
    "monai.transforms.LoadImaged.__call__": "read",
    "monai_mamba.transforms.LoadModalitiesd.__call__": "read",
    "monai.data.Dataset.__getitem__": "conform",
    "monai_mamba.inferers.CoarseToFineInferer.find_box": "look",
    "monai_mamba.inferers.SlidingWindowProbabilityInferer.__call__": "windows",
    "monai_mamba.inferers.HippocampusInferer.__call__": "windows",
    "monai_mamba.transforms.RestoreLabelsd.__call__": "back",
    "monai_mamba.transforms.RestoreTumorLabelsd.__call__": "back",
    "monai_mamba.handlers.ResultSaver.save": "write",
}
seconds = dict.fromkeys(STAGES, 0.0)


def count(stage: str, component: str, method: str) -> None:
    """From now on, count the time of a component's method as that of a stage, but for stages within it."""
    owner = locate(component)
    function: Callable[..., Any] = getattr(owner, method)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        started, counted = time.perf_counter(), sum(seconds.values())
        try:
            return function(*args, **kwargs)
        finally:
            seconds[stage] += time.perf_counter() - started - (sum(seconds.values()) - counted)

    setattr(owner, method, call)


def main() -> None:
    """Import, run and write; an error of the run ends this program as it would end that one."""
    import monai.bundle  # noqa: F401 - its time is that of the stage

    import monai_mamba  # noqa: F401

    seconds["import"] = time.perf_counter() - STARTED
    for method, stage in METHODS.items():
        count(stage, *method.rsplit(".", 1))
    file = Path(sys.argv.pop(1))
    runpy.run_module("monai.bundle", run_name="__main__")
    file.write_text(json.dumps(seconds), encoding="utf-8")


if __name__ == "__main__":
    main()
