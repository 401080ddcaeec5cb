"""Scores of an evaluation, written when it is complete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.utils import string_list_all_gather


class ScoreWriter:
    """Writes what a metric has left in `engine.state.metric_details`, on the first rank for all.

    Args:
        output_dir: folder for the files.
        metric: name of the metric in the engine.
        batch_transform: takes what names the cases out of `engine.state.batch`: a list, or several in a tuple, such as
            `from_engine("subject")` and `from_engine(["subject", "modalities"])`.
        write: called with the folder, the lists of `batch_transform` for all N cases, and their scores `(N, ...)`; such
            as `write_score_tables` or `write_region_tables`, with what else they need.
    """

    def __init__(self, output_dir: str | Path, metric: str, batch_transform: Callable, write: Callable) -> None:
        self.output_dir = Path(output_dir)
        self.metric = metric
        self.batch_transform = batch_transform
        self.write = write
        self._names: list[str] = []  # those of a case joined by line breaks, so that they are gathered together

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator; attach it after the metric, as the `handlers` of MONAI's engines are."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self._names.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _collect(self, engine: Engine) -> None:
        names = self.batch_transform(engine.state.batch)
        columns = names if isinstance(names, tuple) else (names,)
        self._names += ["\n".join(map(str, case)) for case in zip(*columns, strict=True)]

    def _finish(self, engine: Engine) -> None:
        scores = engine.state.metric_details[self.metric].cpu()
        names = [case.split("\n") for case in string_list_all_gather(self._names) if case]  # a rank may have no case
        if idist.get_rank() == 0:
            self.write(self.output_dir, *map(list, zip(*names, strict=True)), scores)
