"""What ends a run is raised, and not logged on the way."""

from __future__ import annotations

import logging

import pytest
from ignite.engine import Engine
from monai.handlers import StatsHandler

from monai_mamba.handlers import BriefErrors


def fail(engine: Engine, item: object) -> None:
    raise ValueError("no such scan")


@pytest.mark.parametrize("brief", [True, False])
def test_the_error_reaches_the_user_and_nothing_else_does(brief, caplog):
    engine = Engine(fail)
    for handler in [BriefErrors()] * brief + [StatsHandler(name="stats")]:
        handler.attach(engine)
    with caplog.at_level(logging.INFO), pytest.raises(ValueError, match="no such scan"):
        engine.run([0])
    assert any(record.levelno >= logging.ERROR for record in caplog.records) != brief
