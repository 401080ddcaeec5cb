"""The weights of the best epoch of a training."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from monai_mamba.handlers.weights import save_weights

logger = logging.getLogger(__name__)


class BestWeights:
    """Keeps the weights of the best validation in a file of plain tensors, ready for inference.

    MONAI's `CheckpointSaver` does this too, but can either write a plain state dict or remember its best value for a
    resumed training. This one has a `state_dict` of its own to put into the training's checkpoint. The file is written
    beside its final name and then renamed. In a distributed run the first rank writes it.

    Args:
        path: the weights file.
        network: the network; give the one inside `DistributedDataParallel`, whose names do not depend on it.
        metric: name of the metric in the evaluator; larger is better.
    """

    def __init__(self, path: str | Path, network: torch.nn.Module, metric: str) -> None:
        self.path = Path(path)
        self.network = network
        self.metric = metric
        self.best: float | None = None

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self._compare)

    def state_dict(self) -> dict[str, Any]:
        """The best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from an earlier training."""
        self.best = state["best"]

    def _compare(self, engine: Engine) -> None:
        value = float(engine.state.metrics[self.metric])
        # NaN is the value of a validation without any structure.
        if math.isnan(value) or (self.best is not None and value <= self.best):
            return
        self.best = value
        if idist.get_rank() == 0:
            save_weights(self.path, self.network)
            logger.info("Best %s so far: %.4f. Weights: %s", self.metric, value, self.path)
