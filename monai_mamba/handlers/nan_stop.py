"""The end of a training that has left the finite numbers, and where it did."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils import CommonKeys
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from monai_mamba.errors import MonaiMambaError
from monai_mamba.networks.finite import first_not_finite, is_finite, title

ADVICE = (
    "Files of earlier epochs are unchanged. Check the scan, and continue from the last checkpoint with a smaller "
    "--learning_rate or without mixed precision (--amp False)."
)


class NaNStop:
    """Stops a training whose loss or weights are NaN or infinite, and names the layer, the scan and the iteration.

    The loss is checked before its step; the weights at the end of an epoch, in case its last step has ruined them.
    Put it first in the handlers of a `SupervisedTrainer`, so that nothing is validated or written after that. Only when
    it stops is the network run a second time, with the same random numbers, to find the layer.
    Scans are called by the entry `subject` of the batch, or else by the file names of the images.
    """

    def __init__(self) -> None:
        self._random_state: list[torch.Tensor] = []
        self._scans_before = ""

    def attach(self, engine: Engine) -> None:
        """Follow a trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self._remember)
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._check_loss)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._check_weights)

    def _remember(self, engine: SupervisedTrainer) -> None:
        self._random_state = [torch.get_rng_state()]
        if engine.state.device.type == "cuda":
            self._random_state.append(torch.cuda.get_rng_state(engine.state.device))

    def _check_loss(self, engine: SupervisedTrainer) -> None:
        loss = engine.state.output[CommonKeys.LOSS].item()
        if math.isfinite(loss):
            self._scans_before = self._scans(engine.state.batch)
            return
        raise MonaiMambaError(
            f"The loss is {loss} in iteration {engine.state.iteration} (epoch {engine.state.epoch}), scan "
            f"{self._scans(engine.state.batch)}: {self._origin(engine)}. Training stopped before this step. {ADVICE}"
        )

    def _check_weights(self, engine: SupervisedTrainer) -> None:
        ruined = _ruined_layer(_bare(engine.network))
        if ruined:
            raise MonaiMambaError(
                f"After the last step of epoch {engine.state.epoch} (iteration {engine.state.iteration}, scan "
                f"{self._scans_before}) weights are not finite, first in {ruined}: the gradients of that step were not "
                f"finite. {ADVICE}"
            )

    def _scans(self, batch: Mapping[str, Any]) -> str:
        names = batch.get("subject")
        if names is None:
            names = getattr(batch.get(CommonKeys.IMAGE), "meta", {}).get("filename_or_obj", "without a name")
        return names if isinstance(names, str) else ", ".join(sorted(set(map(str, names))))

    def _origin(self, engine: SupervisedTrainer) -> str:
        network = _bare(engine.network)
        if not is_finite(engine.state.output[CommonKeys.IMAGE]):
            return "the image itself holds values that are not finite"
        ruined = _ruined_layer(network)
        if ruined:
            return f"the weights of {ruined} are not finite since the step before (scan {self._scans_before})"
        if is_finite(engine.state.output[CommonKeys.PRED]):
            return "the output of the network is finite, so it comes from the loss function"
        return first_not_finite(network, lambda: self._run_again(engine, network))

    def _run_again(self, engine: SupervisedTrainer, network: nn.Module) -> None:
        torch.set_rng_state(self._random_state[0])
        if len(self._random_state) > 1:
            torch.cuda.set_rng_state(self._random_state[1], engine.state.device)
        batch = engine.prepare_batch(engine.state.batch, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        image, _, args, kwargs = batch if len(batch) > 2 else (*batch, (), {})
        engine.inferer(image, network, *args, **kwargs)


def _ruined_layer(network: nn.Module) -> str:
    """Title of the first layer with a parameter that is not finite, or nothing."""
    for name, layer in network.named_modules():
        if not is_finite(list(layer.parameters(recurse=False))):
            return title(name, layer)
    return ""


def _bare(network: nn.Module) -> nn.Module:
    return network.module if isinstance(network, DistributedDataParallel) else network
