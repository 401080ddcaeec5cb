"""Weights of a network, checked before they are used."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from ignite.engine import Engine, Events

from monai_mamba.errors import WeightsError
from monai_mamba.files import write_atomically

logger = logging.getLogger(__name__)


def check_weights(path: str | Path, bundle_root: str | Path) -> None:
    """Refuse a weights file that is missing, or that is not the one the bundle's metadata name.

    The file that belongs to the bundle is compared with the SHA-256 in `configs/metadata.json`, entry `weights`. A file
    that the user brings is not.

    Raises:
        WeightsError: the file is not there, or its hash differs.
    """
    path, root = Path(path).expanduser(), Path(bundle_root)
    try:
        known = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8")).get("weights", {})
    except (OSError, ValueError):
        known = {}
    ships = {(root / name).resolve(): entry.get("sha256") for name, entry in known.items()}
    if not path.is_file():
        if path.resolve().is_relative_to(root.resolve()) and path.resolve() not in ships:
            others = f" It ships {', '.join(known)}; its README says what for." if known else ""
            raise WeightsError(
                f"{path}: this bundle comes without trained weights of this name. Train a network on labeled cases "
                f"(python -m monai.bundle run --config_file {root / 'configs' / 'train.json'} --dataset_dir CASES "
                f"--output_dir run), then give its file with --weights run/model.pt.{others}"
            )
        raise WeightsError(
            f"{path}: there is no weights file. Restore models/model.pt of the bundle, or give a file with --weights."
        )
    expected = ships.get(path.resolve())
    if not expected:
        return
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise WeightsError(
            f"{path}: SHA-256 is {found}, expected {expected}. The file is damaged or was replaced; restore it, or "
            "give another file on purpose with --weights."
        )


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a state dict: the file's own content, or its entry `model` as in a training checkpoint.

    Only tensors and plain containers are read (`weights_only=True`); code in the file does not run.

    Raises:
        WeightsError: the file cannot be read safely, or holds something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{path}: not a file of plain tensors as written by torch.save(network.state_dict(), ...)."
        ) from error
    state = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path}: expected a state dict (names and tensors), found something else.")
    return dict(state)


def load_weights(network: torch.nn.Module, path: str | Path, bundle_root: str | Path) -> torch.nn.Module:
    """Give a network its weights, and return it.

    Raises:
        WeightsError: see `check_weights` and `read_weights`; or the weights belong to another network.
    """
    path = Path(path).expanduser()
    check_weights(path, bundle_root)
    state = read_weights(path)
    own = network.state_dict()
    differences = [f"misses {name}" for name in own if name not in state]
    differences += [f"has an unknown {name}" for name in state if name not in own]
    differences += [
        f"{name} is {tuple(state[name].shape)} where the network has {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    if differences:
        raise WeightsError(
            f"{path}: the weights belong to another network than 'network_def' ({len(differences)} "
            f"differences; the file {differences[0]}). Use the network that they were trained with."
        )
    network.load_state_dict(state)
    logger.info("Weights: %s", path)
    return network


def save_weights(path: str | Path, network: torch.nn.Module) -> None:
    """Write a network's state dict, on the CPU, for `read_weights`; the file is complete or not there."""
    state = {name: value.cpu() for name, value in network.state_dict().items()}
    write_atomically(path, lambda file: torch.save(state, file))


class WeightsLoader:
    """Load a network's weights when an engine starts; the second start changes nothing.

    MONAI's `CheckpointLoader` does the same without a check of the hash and with errors that list every key.

    Args:
        path: weights file, see `read_weights`.
        network: network that takes the weights.
        bundle_root: folder of the bundle, see `check_weights`.
    """

    def __init__(self, path: str | Path, network: torch.nn.Module, bundle_root: str) -> None:
        self.path = Path(path).expanduser()
        self.network = network
        self.bundle_root = bundle_root
        self.loaded = False

    def attach(self, engine: Engine) -> None:
        """Register with an engine."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Load the weights.

        Raises:
            WeightsError: see `load_weights`.
        """
        if not self.loaded:
            load_weights(self.network, self.path, self.bundle_root)
            self.loaded = True
