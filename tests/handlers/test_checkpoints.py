"""Which checkpoint a training goes on from, and the weights of its best epoch."""

from __future__ import annotations

import os

import torch
from ignite.engine import Engine
from torch import nn

from monai_mamba.handlers.training_checkpoints import BestWeights, latest_checkpoint


def test_newest_complete_checkpoint_is_taken(tmp_path):
    for epoch in (9, 10):
        path = tmp_path / f"checkpoint_epoch={epoch}.pt"
        torch.save({"epoch": epoch, "weights": torch.zeros(1000)}, path)
        os.utime(path, (epoch, epoch))
    torch.save({}, tmp_path / "model.pt")
    assert latest_checkpoint(tmp_path) == str(tmp_path / "checkpoint_epoch=10.pt")
    cut = tmp_path / "checkpoint_epoch=11.pt"
    cut.write_bytes((tmp_path / "checkpoint_epoch=10.pt").read_bytes()[:-100])
    assert latest_checkpoint(tmp_path) == str(tmp_path / "checkpoint_epoch=10.pt")


def test_no_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "absent") is None


def validate(handler: BestWeights, *values: float) -> list[float]:
    """Fill the network with 0, 1, 2, ..., report one value each, and return what the file held after each."""
    held = []
    for number, value in enumerate(values):
        nn.init.constant_(handler.network.weight, number)
        engine = Engine(lambda *_: None)
        handler.attach(engine)
        engine.state.metrics["dice"] = value
        engine.run([0])
        held.append(torch.load(handler.path, weights_only=True)["weight"].item() if handler.path.exists() else None)
    return held


def test_best_weights_are_kept_as_a_plain_state_dict(tmp_path):
    handler = BestWeights(tmp_path / "new" / "model.pt", nn.Linear(1, 1, bias=False), "dice")
    assert validate(handler, float("nan"), 0.5, 0.4, 0.6, float("nan")) == [None, 1, 1, 3, 3]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.pt"]


def test_best_value_survives_a_resumed_training(tmp_path):
    first = BestWeights(tmp_path / "model.pt", nn.Linear(1, 1, bias=False), "dice")
    validate(first, 0.5)
    second = BestWeights(tmp_path / "model.pt", nn.Linear(1, 1, bias=False), "dice")
    second.load_state_dict(first.state_dict())
    assert validate(second, 0.4, 0.45, 0.7) == [0, 0, 2]
