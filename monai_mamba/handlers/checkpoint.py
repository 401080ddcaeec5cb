"""One checkpoint that a training continues from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from monai_mamba.data.files import write_whole

__all__ = ["ResumableCheckpoint"]


class ResumableCheckpoint:
    """Save everything a training needs to one file after every epoch, and continue from that file where it exists.

    The file is written beside its final name and then renamed, so a killed training leaves the last complete one.

    Args:
        path: the checkpoint.
        content: name -> object with ``state_dict`` and ``load_state_dict`` (networks, optimizer, scheduler, ...); the
            trainer's own state (epoch, iteration) is added.
        map_location: device the tensors are read to.
    """

    def __init__(
        self, path: str | Path, content: Mapping[str, Any], map_location: str | torch.device | None = "cpu"
    ) -> None:
        self.path = Path(path)
        self.content = dict(content)
        self.map_location = map_location
        self.logger = logging.getLogger(__name__)

    def attach(self, engine: Engine) -> None:
        """Load when the trainer starts, save after each epoch."""
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def load(self, engine: Engine) -> None:
        """Restore the state, if there is one."""
        if not self.path.is_file():
            return
        checkpoint = torch.load(self.path, map_location=self.map_location, weights_only=True)
        for name, item in self.content.items():
            item.load_state_dict(checkpoint[name])
        # max_epochs belongs to this run, so that a training can be continued for longer
        engine.state.epoch = checkpoint["trainer"]["epoch"]
        engine.state.iteration = checkpoint["trainer"]["iteration"]
        self.logger.info("Continuing %s after epoch %d.", self.path, engine.state.epoch)

    def save(self, engine: Engine) -> None:
        """Write the state; in a distributed run the first rank does."""
        if idist.get_rank() != 0:
            return
        checkpoint = {name: item.state_dict() for name, item in self.content.items()}
        checkpoint["trainer"] = {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        write_whole(self.path, lambda file: torch.save(checkpoint, file))
