"""Errors of engines, said once."""

from __future__ import annotations

import logging

from ignite.engine import Engine, Events


class BriefErrors:
    """Keep Ignite and MONAI's `StatsHandler` from logging what ends a run, with tracebacks, on its way to the user.

    Put it first in the handlers: Ignite asks only the first one that wants to know of exceptions.
    """

    def attach(self, engine: Engine) -> None:
        """Register with an engine."""
        engine.logger.addFilter(_is_no_error)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self)

    def __call__(self, engine: Engine, error: BaseException) -> None:
        """Raise the error that the engine has caught."""
        raise error


def _is_no_error(record: logging.LogRecord) -> bool:
    return "terminating due to exception" not in str(record.msg)
