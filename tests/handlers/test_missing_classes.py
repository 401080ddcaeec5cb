"""Lost classes are named; classes that do not occur are not missed."""

from __future__ import annotations

import torch
from ignite.engine import Engine
from monai.handlers import from_engine

from monai_mamba.handlers.missing_classes import MissingClasses
from monai_mamba.labels import LabelTable


def run(batches: list[list[tuple[list[int], list[int]]]]) -> tuple[MissingClasses, Engine]:
    """Evaluate twice, so that counts of the first time must not remain."""
    table = LabelTable.load("hippocampus_head_tail")
    handler = MissingClasses(table, from_engine(["pred", "label"]))
    engine = Engine(
        lambda _, batch: [
            {"pred": torch.tensor(pred).reshape(1, 1, 1, -1), "label": torch.tensor(label).reshape(1, 1, 1, -1)}
            for pred, label in batch
        ]
    )
    handler.attach(engine)
    engine.run([[([1, 2, 3, 4], [1, 2, 3, 4])]])
    engine.run(batches)
    return handler, engine


def test_lost_classes_are_named_once_all_scans_are_seen(caplog):
    _, engine = run([[([0, 1, 1], [1, 2, 0]), ([4, 1, 0], [1, 1, 0])], [([0, 2, 0], [4, 4, 3])]])
    assert engine.state.metrics["val_classes_lost"] == 1  # 2 is predicted later, and 4 in the wrong place
    assert "1 of 5 classes were never predicted: Right-Hippocampus-anterior (5301)." in caplog.text


def test_nothing_is_said_when_every_class_that_occurs_is_predicted(caplog):
    _, engine = run([[([0, 1], [1, 0])]])
    assert engine.state.metrics["val_classes_lost"] == 0
    assert "never predicted" not in caplog.text
