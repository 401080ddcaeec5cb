"""A moving average of the weights that starts where the training does, and goes on where it was stopped."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler


class ResumableEMA(EMAHandler):
    """Ignite's `EMAHandler`, for networks that get their weights when a training starts, and for one that is resumed.

    Ignite copies the network when the handler is made: weights that another handler loads later would be averaged with
    random ones. It also repeats the warm-up of the momentum (`momentum_warmup`, `warmup_iters`) after a stop.
    """

    def attach(self, engine: Engine, *args: Any, **kwargs: Any) -> None:
        """Follow a trainer; arguments as for `EMAHandler.attach`."""
        super().attach(engine, *args, **kwargs)
        engine.add_event_handler(Events.STARTED, self._copy)
        engine.add_event_handler(Events.EPOCH_STARTED, self._catch_up)

    def _copy(self, engine: Engine) -> None:
        if engine.state.iteration == 0:
            self.ema_model.load_state_dict(self.model.state_dict())

    def _catch_up(self, engine: Engine) -> None:
        scheduler = getattr(self, "momentum_scheduler", None)  # there only with a warm-up
        if scheduler is not None:
            scheduler.event_index = engine.state.iteration
