"""What a checkpoint is continued from, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from monai.transforms import RandGaussianNoise
from torch import nn

from monai_mamba.errors import InputError, WeightsError
from monai_mamba.handlers.checkpoint import ResumableCheckpoint


def draws(path: Path, seed: int = 0, epochs: int = 2, **options: object) -> list[list[float]]:
    """Per epoch: the order of the data with their random noise, and numbers of PyTorch and NumPy."""
    data = Dataset(torch.arange(4.0).unsqueeze(1), RandGaussianNoise(prob=1.0))
    seen: dict[int, list[float]] = {}

    def step(engine: Engine, batch: torch.Tensor) -> None:
        numbers = [*batch.flatten().tolist(), torch.rand(()).item(), np.random.rand()]
        seen.setdefault(engine.state.epoch, []).extend(numbers)

    engine = Engine(step)
    engine.state.max_epochs = epochs
    ResumableCheckpoint(path, {}, seed=seed).attach(engine)
    engine.run(DataLoader(data, batch_size=2, shuffle=True), **options)
    return [seen.get(epoch, []) for epoch in range(1, epochs + 1)]


def test_every_epoch_seed_and_only_these_draw_other_numbers(tmp_path):
    first = draws(tmp_path / "a.pt")
    np.random.rand(7), torch.rand(7)
    assert draws(tmp_path / "b.pt") == first
    other = draws(tmp_path / "c.pt", seed=1)
    assert len({number for epoch in first + other for number in epoch}) == 4 * len(first[0])


def test_an_epoch_shorter_than_its_loader_starts_afresh_whether_stopped_or_not(tmp_path):
    whole = draws(tmp_path / "whole.pt", epochs=3, epoch_length=1)
    draws(tmp_path / "parts.pt", epochs=1, epoch_length=1)
    assert draws(tmp_path / "parts.pt", epochs=3, epoch_length=1)[1:] == whole[1:]


def test_a_trainer_that_has_run_goes_on_from_memory(tmp_path):
    network = nn.Linear(1, 1, bias=False)
    engine = Engine(lambda *_: None)
    ResumableCheckpoint(tmp_path / "checkpoint.pt", {"network": network}).attach(engine)
    engine.run([0], max_epochs=1)
    nn.init.constant_(network.weight, 5.0)  # as a federated server does between two rounds
    engine.run([0], max_epochs=2)
    assert network.weight.item() == 5.0


@pytest.mark.parametrize("fault", ["another network", "another config", "damaged", "empty"])
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, fault):
    path = tmp_path / "checkpoint.pt"
    engine = Engine(lambda *_: None)
    ResumableCheckpoint(path, {"network": nn.Linear(1, 1)}).attach(engine)
    engine.run([0])
    content = {"network": nn.Linear(2, 1) if fault == "another network" else nn.Linear(1, 1)}
    if fault == "another config":
        content["optimizer"] = nn.Linear(1, 1)
    if fault in ("damaged", "empty"):
        path.write_bytes(path.read_bytes()[: 0 if fault == "empty" else 300])
    before = path.read_bytes()
    engine = Engine(lambda *_: None)
    ResumableCheckpoint(path, content).attach(engine)
    with pytest.raises(WeightsError, match=r"checkpoint.pt: the training cannot go on.*--resume False"):
        engine.run([0])
    assert path.read_bytes() == before


def test_workers_that_would_keep_their_random_numbers_are_refused(tmp_path):
    engine = Engine(lambda *_: None)
    ResumableCheckpoint(tmp_path / "checkpoint.pt", {}).attach(engine)
    loader = DataLoader(Dataset([0.0]), num_workers=1, persistent_workers=True)
    with pytest.raises(InputError, match="persistent_workers"):
        engine.run(loader)
