"""What a checkpoint is continued from, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.transforms import RandGaussianNoise
from torch import nn
from torch.optim import lr_scheduler

from monai_mamba.errors import InputError, OutputError, WeightsError
from monai_mamba.handlers import checkpoint
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
    with pytest.raises(WeightsError, match=r"checkpoint.pt: training cannot continue.*--resume False"):
        engine.run([0])
    assert path.read_bytes() == before


def test_workers_that_would_keep_their_random_numbers_are_refused(tmp_path):
    engine = Engine(lambda *_: None)
    ResumableCheckpoint(tmp_path / "checkpoint.pt", {}).attach(engine)
    loader = DataLoader(Dataset([0.0]), num_workers=1, persistent_workers=True)
    with pytest.raises(InputError, match="persistent_workers"):
        engine.run(loader)


SCHEDULES = {
    "none": None,
    "closed form": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1)),
    "recursive": lambda optimizer: lr_scheduler.StepLR(optimizer, step_size=2),
    "restarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=3, eta_min=1e-5),
}


def learning_rates(path: Path, epochs: int, schedule: str, lr: float, weight_decay: float = 0.0) -> list[float]:
    """Those that the epochs of one run have used."""
    network = nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=weight_decay)
    content = {"network": network, "optimizer": optimizer}
    if SCHEDULES[schedule]:
        content["lr_scheduler"] = SCHEDULES[schedule](optimizer)
    used = []

    def step(engine: Engine, batch: object) -> None:
        assert optimizer.param_groups[0]["weight_decay"] == weight_decay
        used.append(optimizer.param_groups[0]["lr"])
        network(torch.ones(1)).backward()
        optimizer.step()
        if SCHEDULES[schedule]:
            content["lr_scheduler"].step()

    engine = Engine(step)
    ResumableCheckpoint(path, content).attach(engine)
    engine.run([0], max_epochs=epochs)
    return used


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_continued_training_takes_its_own_learning_rate_and_weight_decay(tmp_path, schedule):
    before = learning_rates(tmp_path / "a.pt", 2, schedule, 0.1)
    assert before + learning_rates(tmp_path / "a.pt", 5, schedule, 0.1) == learning_rates(
        tmp_path / "b.pt", 5, schedule, 0.1
    )
    learning_rates(tmp_path / "c.pt", 2, schedule, 0.1)
    lower = learning_rates(tmp_path / "c.pt", 5, schedule, 0.01, weight_decay=0.3)
    assert lower == learning_rates(tmp_path / "d.pt", 5, schedule, 0.01, weight_decay=0.3)[2:]


def test_fewer_epochs_than_are_complete_are_refused_and_as_many_change_nothing(tmp_path):
    learning_rates(tmp_path / "a.pt", 3, "none", 0.1)
    before = (tmp_path / "a.pt").read_bytes()
    with pytest.raises(InputError, match=r"a.pt: 3 epochs are complete, but --epochs is 2\. Give more"):
        learning_rates(tmp_path / "a.pt", 2, "none", 0.1)
    assert learning_rates(tmp_path / "a.pt", 3, "none", 0.1) == []
    assert (tmp_path / "a.pt").read_bytes() == before


def test_other_data_are_warned_of(tmp_path, caplog):
    def train(epochs: int, *subjects: str) -> None:
        engine = Engine(lambda *_: None)
        ResumableCheckpoint(tmp_path / "checkpoint.pt", {}).attach(engine)
        engine.run(DataLoader(Dataset([{"subject": name} for name in subjects])), max_epochs=epochs)

    train(1, "a", "b")
    train(2, "b", "a")
    assert "Other data" not in caplog.text
    train(3, "a", "c", "d")
    assert "Other data than before: 2 scans were there then, 3 are now; 2 of them are new." in caplog.text


def test_a_fold_whose_scans_were_trained_on_is_refused(tmp_path, monkeypatch):
    def train(epochs: int, fold: object, *subjects: str) -> None:
        monkeypatch.setattr(checkpoint, "options_in_use", lambda: {"fold": str(fold)})
        engine = Engine(lambda *_: None)
        ResumableCheckpoint(tmp_path / "a.pt", {}).attach(engine)
        engine.run(DataLoader(Dataset([{"subject": name} for name in subjects])), max_epochs=epochs)

    train(1, 0, "b", "c")
    for epochs in (1, 2):  # also where nothing would be left to train: its weights would be taken for those of fold 1
        with pytest.raises(InputError, match=r"learned from 1 scans that --fold 1 holds out, first b; their scores"):
            train(epochs, 1, "a", "c")
    train(2, "all", "a", "b", "c")


def test_a_checkpoint_that_two_trainings_write_is_refused(tmp_path):
    def trainer() -> Engine:
        engine = Engine(lambda *_: None)
        ResumableCheckpoint(tmp_path / "a.pt", {}).attach(engine)
        return engine

    first = trainer()

    @first.on(Events.EPOCH_STARTED(once=2))
    def start_another_one() -> None:
        trainer().run([0], max_epochs=3)

    with pytest.raises(OutputError, match="another training writes this checkpoint, too"):
        first.run([0], max_epochs=3)
    assert torch.load(tmp_path / "a.pt", weights_only=True)["trainer"]["epoch"] == 3


def test_a_finished_training_says_that_other_options_change_nothing(tmp_path, monkeypatch, caplog):
    for seed, is_said in ((0, False), (0, False), (1, True)):
        monkeypatch.setattr(checkpoint, "options_in_use", lambda seed=seed: {"seed": str(seed)})
        engine = Engine(lambda *_: None)
        ResumableCheckpoint(tmp_path / "a.pt", {}).attach(engine)
        engine.run([0], max_epochs=1)
        assert ("nothing is trained: the weights are those of before" in caplog.text) == is_said


def test_initial_weights_that_would_not_be_used_are_refused(tmp_path, monkeypatch):
    def train(epochs: int, weights: str | None) -> None:
        monkeypatch.setattr(checkpoint, "options_in_use", lambda: {"initial_weights": str(weights)})
        engine = Engine(lambda *_: None)
        ResumableCheckpoint(tmp_path / "a.pt", {}).attach(engine)
        engine.run([0], max_epochs=epochs)

    train(1, "a.pt")
    train(2, "a.pt")
    train(3, None)
    with pytest.raises(
        InputError, match=r"continues from this checkpoint, so --initial_weights b\.pt would not be used"
    ):
        train(4, "b.pt")


def test_a_checkpoint_without_names_and_options_is_continued(tmp_path):
    network, path = nn.Linear(1, 1), tmp_path / "checkpoint.pt"
    torch.save({"network": network.state_dict(), "trainer": {"epoch": 1, "iteration": 1}}, path)
    engine = Engine(lambda *_: None)
    ResumableCheckpoint(path, {"network": network}).attach(engine)
    assert engine.run([0], max_epochs=2).epoch == 2
