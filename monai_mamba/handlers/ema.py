"""A moving average of the weights whose warm-up survives a stop."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler

__all__ = ["ResumableEMA"]


class ResumableEMA(EMAHandler):
    """Ignite's `EMAHandler`, but a resumed training goes on with the warm-up of the momentum instead of repeating it.

    Args:
        args: as for `EMAHandler`.
        kwargs: as for `EMAHandler`; the warm-up is `momentum_warmup` and `warmup_iters`.
    """

    def attach(self, engine: Engine, *args: Any, **kwargs: Any) -> None:
        """Follow a trainer; arguments as for `EMAHandler.attach`."""
        super().attach(engine, *args, **kwargs)
        engine.add_event_handler(Events.EPOCH_STARTED, self._catch_up)

    def _catch_up(self, engine: Engine) -> None:
        scheduler = getattr(self, "momentum_scheduler", None)  # there only with a warm-up
        if scheduler is not None:
            scheduler.event_index = engine.state.iteration
