"""Trainings that are stopped, and the comparison of what two trainings have left."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from torch.utils._pytree import tree_flatten

from monai_mamba.errors import as_before


def run_until(bundle: ConfigWorkflow, iteration: int) -> None:
    """Run an initialized bundle and end it as a batch system does when this iteration is complete."""
    trainer = bundle.parser.get_parsed_content("train#trainer")

    @trainer.on(Events.ITERATION_COMPLETED(once=iteration))
    def interrupt() -> None:
        signal.raise_signal(signal.SIGTERM)

    with as_before(), pytest.raises(SystemExit):
        bundle.run()


def assert_equal_files(first: Path, second: Path) -> None:
    """Checkpoint and weights of two trainings hold the same names, tensors (bit for bit) and numbers."""
    for name in ("checkpoint.pt", "model.pt"):
        (leaves, names), (others, other_names) = (
            tree_flatten(torch.load(folder / name, weights_only=True)) for folder in (first, second)
        )
        assert names == other_names
        assert any(isinstance(leaf, torch.Tensor) and leaf.is_floating_point() for leaf in leaves)
        for leaf, other in zip(leaves, others, strict=True):
            assert torch.equal(leaf, other) if isinstance(leaf, torch.Tensor) else leaf == other
