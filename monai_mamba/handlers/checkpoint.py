"""One checkpoint that a training continues from, as if it had never been stopped."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd
from monai.utils import set_determinism

from monai_mamba.errors import InputError, WeightsError
from monai_mamba.files import write_atomically

__all__ = ["ResumableCheckpoint"]


class ResumableCheckpoint:
    """Save everything a training needs to one file after every epoch, and continue from that file where it exists.

    The random numbers of an epoch (order of the data, transforms, dropout) come from the seed of the training, the
    epoch and the rank alone, not from what was drawn before. A training that is stopped anywhere and continued with the
    same options therefore equals the one that was not stopped, on a CPU bit for bit.

    The file is written beside its final name and then renamed, so a killed training leaves the last complete one.

    Args:
        path: the checkpoint.
        content: name -> object with ``state_dict`` and ``load_state_dict`` (networks, optimizer, scheduler, ...); the
            trainer's own state (epoch, iteration) is added.
        seed: seed of the training, >= 0.
        resume: False starts over; an earlier file stays until the first epoch is complete.
        map_location: device the tensors are read to.
    """

    def __init__(
        self,
        path: str | Path,
        content: Mapping[str, Any],
        seed: int = 0,
        resume: bool = True,
        map_location: str | torch.device | None = "cpu",
    ) -> None:
        self.path = Path(path).expanduser()
        self.content = dict(content)
        self.seed = seed
        self.resume = resume
        self.map_location = map_location
        self.logger = logging.getLogger(__name__)

    def attach(self, engine: Engine) -> None:
        """Load when the trainer starts, draw new seeds at the start of each epoch, save after it."""
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.EPOCH_STARTED, self.start_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def load(self, engine: Engine) -> None:
        """Restore the state, if there is one and the trainer has not run yet (later runs go on from memory).

        Raises:
            WeightsError: the file is damaged, or its content does not fit.
        """
        if not self.resume or engine.state.epoch > 0 or not self.path.is_file():
            return
        try:
            checkpoint = torch.load(self.path, map_location=self.map_location, weights_only=True)
            for name, item in self.content.items():
                item.load_state_dict(checkpoint[name])
            # max_epochs belongs to this run, so that a training can be continued for longer
            engine.state.epoch = checkpoint["trainer"]["epoch"]
            engine.state.iteration = checkpoint["trainer"]["iteration"]
        except (KeyError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise WeightsError(
                f"{self.path}: the training cannot go on from this checkpoint, which is damaged or belongs to another "
                "config or network. Use that one, or another --output_dir, or start over with --resume False."
            ) from error
        self.logger.info("Continuing %s after epoch %d.", self.path, engine.state.epoch)

    def start_epoch(self, engine: Engine) -> None:
        """Seed everything that draws random numbers, and start a new pass over the data.

        Raises:
            InputError: the loader keeps its workers, whose transforms would go on from the epoch before.
        """
        loader = engine.state.dataloader
        if getattr(loader, "persistent_workers", False):
            raise InputError(
                "The loader of the training data has persistent_workers=True, so that a training could not be "
                "continued exactly. Leave it at False; starting workers takes a moment per epoch."
            )
        # Hashed, so that neighboring seeds, epochs and ranks share nothing.
        mixed = np.random.SeedSequence([self.seed, engine.state.epoch, idist.get_rank()])
        seed = int(mixed.generate_state(1)[0])
        set_determinism(seed)
        set_rnd(getattr(loader, "dataset", None), seed)
        # Otherwise a loader longer than the epoch would go on where the epoch before has left it.
        engine.set_data(loader)

    def save(self, engine: Engine) -> None:
        """Write the state; in a distributed run the first rank does."""
        if idist.get_rank() != 0:
            return
        checkpoint = {name: item.state_dict() for name, item in self.content.items()}
        checkpoint["trainer"] = {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        write_atomically(self.path, lambda file: torch.save(checkpoint, file))
