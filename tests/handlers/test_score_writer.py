"""Names and scores of an evaluation come together when it is complete."""

from __future__ import annotations

from unittest.mock import Mock

import torch
from ignite.engine import Engine

from monai_mamba.handlers.score_writer import ScoreWriter


def test_every_epoch_writes_its_own_names_once(tmp_path):
    for transform, expected in (
        (lambda batch: batch["subject"], [["a", "b", "c"]]),
        (lambda batch: (batch["subject"], batch["part"]), [["a", "b", "c"], ["1", "2", "3"]]),
    ):
        engine = Engine(lambda engine, batch: None)
        write = Mock()
        ScoreWriter(tmp_path, "dsc", transform, write).attach(engine)
        engine.state.metric_details = {"dsc": torch.arange(3.0)}
        batches = [{"subject": ["a", "b"], "part": [1, 2]}, {"subject": ["c"], "part": [3]}]
        for _ in range(2):
            engine.run(batches, max_epochs=1)
            folder, *names, scores = write.call_args.args
            assert folder == tmp_path
            assert scores.tolist() == [0, 1, 2]
            assert names == expected
        assert write.call_count == 2
