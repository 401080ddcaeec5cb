"""The weights of the best epoch, also across a resumed training."""

from __future__ import annotations

import torch
from ignite.engine import Engine
from torch import nn

from monai_mamba.handlers.best_weights import BestWeights


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
