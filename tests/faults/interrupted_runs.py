"""Start the subcortical bundle again and again and kill it at random moments: a module that the test beside it runs."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from monai.bundle import ConfigWorkflow

CONFIG = Path(__file__).resolve().parents[2] / "bundles" / "subcortical" / "configs" / "inference.json"


def segment(source: str, output_dir: str, weights: str) -> None:
    """One run over a folder."""
    options = {"network_def": {"_target_": "head_phantom.IntensityNetwork"}, "roi_size": [48, 48, 48], "mirror": False}
    options |= {"input": source, "output_dir": output_dir, "weights": weights, "device": "cpu", "progress": False}
    workflow = ConfigWorkflow(str(CONFIG), workflow_type="infer", logging_file=False, **options)
    workflow.initialize()
    workflow.run()


def start(source: str, output_dir: str, weights: str) -> int:
    """The process of a run that has begun."""
    process = os.fork()
    if process == 0:
        try:
            segment(source, output_dir, weights)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return process


def main(source: str, output_dir: str, weights: str, kills: int) -> None:
    """Print how many runs were killed and the exit status of the last one, which is left alone."""
    torch.set_num_threads(1)  # a process that has parted from one with threads has lost them
    began = time.monotonic()
    os.waitpid(start(source, f"{output_dir}_whole", weights), 0)
    whole = time.monotonic() - began
    moments = random.Random(0)
    killed = 0
    for _ in range(kills):
        process = start(source, output_dir, weights)
        time.sleep(moments.uniform(0.02, 0.2) * whole)
        os.kill(process, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(process, 0)[1])
    status = os.waitpid(start(source, output_dir, weights), 0)[1]
    print(killed, os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(*sys.argv[1:4], kills=int(sys.argv[4]))
