"""One checkpoint that a training continues from, as if it had never been stopped."""

from __future__ import annotations

import logging
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd
from monai.utils import set_determinism
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from monai_mamba.bundle import options_in_use
from monai_mamba.errors import InputError, OutputError, WeightsError, say_what_is_kept
from monai_mamba.files import user_path
from monai_mamba.handlers.weights import read_tensors, write_tensors

HOLD_OUT = {"fold", "folds", "val_fraction"}  # options that say which scans are not trained on


class ResumableCheckpoint:
    """Save everything a training needs to one file after every epoch, and continue from that file where it exists.

    The random numbers of an epoch (order of the data, transforms, dropout) come from the seed of the training, the
    epoch and the rank alone, not from what was drawn before. A training that is stopped anywhere and continued with the
    same options therefore equals the one that was not stopped, on a CPU bit for bit.

    Options are those of this run, not of the file: an optimizer keeps its learning rate, weight decay and so on, and a
    scheduler takes as many steps as it had taken. What differs from the run before is logged.

    The file is written beside its final name and then renamed, so a killed training leaves the last complete one.

    Args:
        path: the checkpoint.
        content: name -> object with ``state_dict`` and ``load_state_dict`` (networks, optimizer, scheduler, ...); the
            trainer's own state (epoch, iteration), the options and the names of the data are added. Schedulers step
            without arguments.
        seed: seed of the training, >= 0.
        resume: False starts over; an earlier file stays until the first epoch is complete.
    """

    def __init__(self, path: str | Path, content: Mapping[str, Any], seed: int = 0, resume: bool = True) -> None:
        self.path = user_path(path)
        self.content = dict(content)
        self.seed = seed
        self.resume = resume
        self.about: dict[str, Any] = {}
        self.known_file: tuple[int, int] | None = None
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
            InputError: the training has more epochs behind it than it is to have, other initial weights, or another
                fold, whose scans it has learned from.
        """
        if engine.state.epoch > 0:
            return
        self.about = {"options": options_in_use(), "data": _names(engine.state.dataloader)}
        self.known_file = self._state_of_file()
        if not self.resume or not self.path.is_file():
            self.logger.info("The training starts from its beginning; its checkpoint will be %s.", self.path)
            return
        before: dict[str, Any] = {}
        try:
            checkpoint = read_tensors(self.path)
            before = {"options": checkpoint.get("options", {}), "data": checkpoint.get("data", [])}
            epoch, iteration = checkpoint["trainer"]["epoch"], checkpoint["trainer"]["iteration"]
            if epoch > engine.state.max_epochs:
                raise InputError(
                    f"{self.path}: {epoch} epochs are complete, but --epochs is {engine.state.max_epochs}. Give more, "
                    "or another --output_dir, or start over with --resume False."
                )
            new = {name: new for name, _, new in _changes(before, self.about)}.get("initial_weights", "None")
            if new != "None":
                raise InputError(
                    f"{self.path}: the training continues from this checkpoint, so --initial_weights {new} would "
                    "not be used. Leave it as it was, or start over with --resume False, or another --output_dir."
                )
            dropped = set(before["data"]) - set(self.about["data"])
            held_out = [f"--{name} {_short(new)}" for name, _, new in _changes(before, self.about) if name in HOLD_OUT]
            if dropped and held_out:
                raise InputError(
                    f"{self.path}: this training has learned from {len(dropped)} scans that {held_out[0]} holds out, "
                    f"first {min(dropped)}; their scores would be too good. Set another --output_dir, or start over "
                    "with --resume False."
                )
            for name, item in self.content.items():
                if isinstance(item, Optimizer):
                    _load_state(item, checkpoint[name])
                elif not isinstance(item, LRScheduler):
                    item.load_state_dict(checkpoint[name])
            for name, item in self.content.items():
                if isinstance(item, LRScheduler):
                    _step_to(item, checkpoint[name]["last_epoch"])
        except InputError:
            raise
        except (KeyError, RuntimeError, ValueError) as error:
            holds = ", ".join(f"{name} {_short(old)}" for name, old, _ in _changes(before, self.about))
            raise WeightsError(
                f"{self.path}: training cannot continue from this checkpoint: it is damaged or belongs to another "
                f"config or network{holds and f' (its options: {holds})'}. Use that config, set another --output_dir, "
                "or start over with --resume False."
            ) from error
        engine.state.epoch, engine.state.iteration = epoch, iteration
        self._say_what_is_kept(engine)
        self.logger.info("Continuing %s after epoch %d of %d.", self.path, epoch, engine.state.max_epochs)
        changes = _changes(before, self.about)
        for name, old, new in changes:
            self.logger.info("--%s is now %s (before: %s).", name, _short(new), _short(old))
        if changes and epoch == engine.state.max_epochs:
            self.logger.warning(
                "All epochs were complete, so nothing is trained: the weights are those of before, with the options of "
                "then. Set another --output_dir, or start over with --resume False."
            )
        old, new = set(before["data"]), set(self.about["data"])
        if old and new and old != new:
            self.logger.warning(
                "Other data than before: %d scans were there then, %d are now; %d of them are new. What the network "
                "has learned comes from both: validate on none of them.",
                len(old),
                len(new),
                len(new - old),
            )

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
        """Write the state; in a distributed run the first rank does.

        Raises:
            OutputError: it cannot be written, or another training writes it, too; the file that is there stays.
        """
        if idist.get_rank() != 0:
            return
        if self._state_of_file() not in (None, self.known_file):
            raise OutputError(
                f"{self.path}: another training writes this checkpoint, too; it has changed since this one began. Give "
                "each training an --output_dir of its own."
            )
        checkpoint = {name: item.state_dict() for name, item in self.content.items()}
        checkpoint |= self.about
        checkpoint["trainer"] = {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        write_tensors(self.path, checkpoint)
        self.known_file = self._state_of_file()
        self._say_what_is_kept(engine)

    def _state_of_file(self) -> tuple[int, int] | None:
        """What tells one checkpoint from the next that replaces it; None where there is none."""
        if not self.path.is_file():
            return None
        state = self.path.stat()
        return state.st_mtime_ns, state.st_size

    def _say_what_is_kept(self, engine: Engine) -> None:
        epochs = f"{engine.state.epoch} of {engine.state.max_epochs} epochs are complete"
        say_what_is_kept(f"{epochs}; the same command continues from {self.path}.")


def _load_state(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Take the state of the parameters, but keep the settings (learning rate, weight decay, ...)."""
    settings = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)


def _step_to(scheduler: LRScheduler, count: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of steps before the first one of the optimizer
        for _ in range(count - scheduler.last_epoch):
            scheduler.step()


def _names(loader: Any) -> list[str]:
    """Names of the scans of a loader, sorted, where its items have names."""
    dataset = getattr(loader, "dataset", None)
    items = [item for part in getattr(dataset, "datasets", [dataset]) for item in getattr(part, "data", ())]
    return sorted(str(item["subject"]) for item in items if isinstance(item, Mapping) and "subject" in item)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Options that both runs have with other values: name, value before, value now."""
    old, new = before.get("options", {}), now["options"]
    return [(name, old[name], new[name]) for name in new if name in old and old[name] != new[name]]


def _short(value: str) -> str:
    return textwrap.shorten(value, 80, placeholder=" ...")
