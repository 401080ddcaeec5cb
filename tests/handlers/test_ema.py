"""The moving average of the weights begins with the weights that the training begins with."""

from __future__ import annotations

import torch
from ignite.engine import Engine, Events

from monai_mamba.handlers import ResumableEMA


def test_weights_that_a_handler_loads_are_where_the_average_starts():
    network = torch.nn.Linear(2, 2)
    ema = ResumableEMA(network, momentum=0.1)
    given = {name: torch.full_like(value, 3.0) for name, value in network.state_dict().items()}
    engine = Engine(lambda *_: None)
    engine.add_event_handler(Events.STARTED, lambda _: network.load_state_dict(given))
    ema.attach(engine)
    engine.run([0], max_epochs=1)
    torch.testing.assert_close(dict(ema.ema_model.state_dict()), given)
