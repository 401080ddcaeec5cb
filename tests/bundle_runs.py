"""Runs of a bundle's configs: in this process, or as two processes of one distributed run."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from forked import CONTEXT, run_as_two_processes
from monai.bundle import ConfigWorkflow
from monai.data import DataLoader, Dataset
from torch.utils._pytree import tree_flatten


def run_bundle(files: Sequence[Path], **options: object) -> None:
    """Run configs that are merged in their order; the options are those of the command line."""
    hook = sys.excepthook  # which a run replaces
    bundle = ConfigWorkflow([str(file) for file in files], workflow_type="infer", logging_file=False, **options)
    try:
        bundle.initialize()
        bundle.run()
    finally:
        sys.excepthook = hook


def train_as_two_processes(files: Sequence[Path], folder: Path, **options: object) -> list[str]:
    """Train as `torchrun` does, with gloo on the CPU, in a folder; returns what each process printed.

    Both must end with the same weights.
    """
    options |= {
        "amp": False,
        "device": "$torch.device('cpu')",
        "finalize": [
            "$print('WEIGHTS', sum(float(p.double().abs().sum()) for p in @network_def.parameters()))",
            "$dist.destroy_process_group()",
        ],
    }
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str([str(file) for file in files])]
    command += [text for name, value in options.items() for text in (f"--{name}", str(value))]
    ended = run_as_two_processes(command, folder, os.environ)
    outputs = [process.stdout for process in ended]
    assert [process.returncode for process in ended] == [0, 0], outputs
    sums = [re.search(r"WEIGHTS (\d\S+)", output).group(1) for output in outputs]
    assert sums[0] == sums[1]
    return outputs


def assert_every_process_prepares_alike(dataset: Dataset) -> None:
    """Also one that has only what is pickled for it, as on macOS and Windows, and from Python 3.14 on."""
    ways = []
    for context in (None, CONTEXT):
        torch.manual_seed(0)
        loader = DataLoader(dataset, batch_size=1, num_workers=1, multiprocessing_context=context)
        ways.append(tree_flatten(list(loader)))
    (leaves, names), (others, other_names) = ways
    assert names == other_names
    for leaf, other in zip(leaves, others, strict=True):
        assert torch.equal(leaf, other) if isinstance(leaf, torch.Tensor) else leaf == other
