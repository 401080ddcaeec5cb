"""Weights of a network, checked before they are used."""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from monai_mamba.data.unpacking import POINTER_FOUND, POINTERS, first_line
from monai_mamba.errors import WeightsError, writing
from monai_mamba.files import read_json, read_whole, user_path, write_atomically
from monai_mamba.ranks import rank_and_size

ENTRIES = ("model", "state_dict", "network")  # of a training checkpoint, where it holds the network's weights
END_OF_ARCHIVE = 22  # bytes of the record at its end
BEFORE_1_6 = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # files of PyTorch before 1.6 begin so
PREFIXES = ("module.", "_orig_mod.")  # of names: DistributedDataParallel and torch.compile add them

logger = logging.getLogger(__name__)


def check_weights(path: str | Path, bundle_root: str | Path) -> dict[str, Any]:
    """Refuse a weights file that is missing, or that is not the one the bundle's metadata name.

    The file that belongs to the bundle is compared with the SHA-256 in `configs/metadata.json`, entry `weights`, and
    what stands there about it is returned. A file that the user brings is not, and gives nothing.

    Raises:
        WeightsError: the file is not there, or its hash differs.
    """
    path, root = user_path(path), Path(bundle_root)
    known = read_json(root / "configs" / "metadata.json").get("weights", {})
    ships = {(root / name).resolve(): entry for name, entry in known.items()}
    if not path.is_file():
        if path.resolve().is_relative_to(root.resolve()) and path.resolve() not in ships:
            others = f" It ships {', '.join(known)}; its README says what they are for." if known else ""
            raise WeightsError(
                f"{path}: this bundle ships no trained weights of this name. Train a network on labeled cases "
                f"(python -m monai.bundle run --config_file {root / 'configs' / 'train.json'} --dataset_dir CASES "
                f"--output_dir run), then set --weights run/model.pt.{others}"
            )
        raise WeightsError(
            f"{path}: there is no weights file. Restore models/model.pt of the bundle, or give a file with --weights."
        )
    about = ships.get(path.resolve(), {})
    expected = about.get("sha256")
    if not expected:
        return about
    found = hashlib.sha256(read_whole(path)).hexdigest()
    if found != expected:
        raise WeightsError(
            f"{path}: SHA-256 is {found}, expected {expected}. The file is damaged or was replaced; restore it, or "
            "name another file with --weights."
        )
    return about


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a state dict: the file's own content, or its entry `model`, `state_dict` or `network`, as in a checkpoint.

    The prefixes `module.` and `_orig_mod.` are left out where all names have them. Like PyTorch's own, the result has
    an attribute `_metadata`, in which `save_weights` writes settings.

    Raises:
        WeightsError: see `read_tensors`; or the file holds something else.
    """
    state = read_tensors(path)
    dropped = []
    metadata = getattr(state, "_metadata", {})
    if isinstance(state, Mapping):
        entry = next((name for name in ENTRIES if isinstance(state.get(name), Mapping)), None)
        state = state.get(entry, state)
        dropped += [entry] if entry in ENTRIES[1:] else []
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        entries = f"the entries {', '.join(map(str, list(state)[:8]))}" if isinstance(state, Mapping) else "no names"
        raise WeightsError(
            f"{path}: expected a state dict (names and tensors), found something else, with {entries}. Save the one of "
            "the network by itself, or as the entry 'model'."
        )
    while prefix := next((part for part in PREFIXES if state and all(name.startswith(part) for name in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
        dropped.append(prefix)
    if dropped:
        logger.info("%s: the names of the weights are read without '%s'.", path, "', '".join(dropped))
    state = OrderedDict(state)
    state._metadata = metadata
    return state


def read_tensors(path: str | Path) -> Any:
    """Read what `torch.save` has written, to the CPU, verified by its checksums.

    Only tensors and plain containers are read (`weights_only=True`); code in the file does not run.

    Raises:
        InputError: the file cannot be read, or changes while it is read.
        WeightsError: the file is damaged, or cannot be read safely.
    """
    content = read_whole(path)
    if content.startswith(POINTERS):
        raise WeightsError(f"{path}: {POINTER_FOUND}")
    _check_archive(path, content)
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # random bytes make the unpickler raise anything
        raise WeightsError(
            f"{path}: not a file of plain tensors. Write it with torch.save(network.state_dict(), ...)."
        ) from error


def write_tensors(path: str | Path, content: Any) -> None:
    """Write what `read_tensors` reads, complete or not at all.

    Raises:
        OutputError: it cannot be written.
    """

    def write(file: Path) -> None:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # what PyTorch makes of a full disk
            raise OSError(first_line(error)) from error

    with writing(str(path)):
        write_atomically(path, write)


def _check_archive(path: str | Path, content: bytes) -> None:
    """Compare the checksums in a file of `torch.save`, which `torch.load` does not."""
    if content.startswith(BEFORE_1_6):
        raise WeightsError(
            f"{path}: written as by PyTorch before 1.6, without checksums, so that damage would not be noticed. "
            "Write it again with torch.save(torch.load(...), ...)."
        )
    if not content.startswith(b"PK"):
        return  # no weights, as PyTorch will find
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        raise WeightsError(f"{path}: the file is truncated or damaged ({error}). Copy it again.") from error
    if damaged:
        raise WeightsError(f"{path}: the file is damaged; the checksum of its part {damaged} differs. Copy it again.")
    if content[-END_OF_ARCHIVE:-18] != b"PK\x05\x06":
        raise WeightsError(f"{path}: the file is damaged; surplus bytes follow its content. Copy it again.")


def load_weights(
    network: torch.nn.Module, path: str | Path, bundle_root: str | Path, **settings: Sequence[float]
) -> torch.nn.Module:
    """Give a network its weights, and return it.

    Args:
        network: the network.
        path: weights file.
        bundle_root: folder of the bundle that it may have come with.
        settings: options of this run that must be those of the training, where the file (see `save_weights`) or the
            bundle's metadata say what it had.

    Raises:
        WeightsError: see `check_weights` and `read_weights`; or the weights belong to another network, were trained
            with other settings, are not finite or whole numbers, or do not differ within any tensor.
    """
    path = user_path(path)
    trained = check_weights(path, bundle_root)
    state = read_weights(path)
    trained |= state._metadata.get("", {})
    for name, value in settings.items():
        if name in trained and list(trained[name]) != list(value):
            raise WeightsError(
                f"{path}: trained with --{name} {trained[name]}, and this run has {list(value)}. Give the options of "
                "the training."
            )
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
    for name, value in own.items():
        if value.is_floating_point() and not state[name].is_floating_point():
            raise WeightsError(
                f"{path}: the values of {name} are {state[name].dtype}, expected {value.dtype}. Convert quantized "
                "weights back with their scale first."
            )
        if state[name].layout != torch.strided or state[name].is_meta:
            raise WeightsError(f"{path}: the values of {name} are sparse or not there. Save a dense tensor on the CPU.")
        bad = int((~state[name].to(value.dtype).isfinite()).sum())
        if bad:
            raise WeightsError(
                f"{path}: {bad} of the {value.numel()} values of {name} are NaN or infinite; expected finite weights. "
                "The training that wrote them has failed: take those of an earlier epoch."
            )
    several = {name: state[name].flatten() for name in own if own[name].numel() > 1}
    if several and all((values == values[0]).all() for values in several.values()):
        name, values = next(iter(several.items()))
        raise WeightsError(
            f"{path}: in each of its tensors all values are equal (those of {name} are {values[0]:g}); expected trained"
            " weights. Save the network after its training."
        )
    network.load_state_dict(state)
    logger.info("Weights: %s", path)
    return network


def save_weights(path: str | Path, network: torch.nn.Module, **settings: Sequence[float]) -> None:
    """Write a network's state dict, on the CPU, for `read_weights`; the file is complete or not there.

    In a distributed run the first rank writes. The settings of the training stand where PyTorch keeps the versions of
    modules, so that the file remains a plain state dict; see `load_weights`.

    Raises:
        OutputError: it cannot be written.
    """
    if rank_and_size()[0] != 0:
        return
    state = OrderedDict((name, value.cpu()) for name, value in network.state_dict().items())
    state._metadata = {"": {name: list(value) for name, value in settings.items()}}
    write_tensors(path, state)


class WeightsLoader:
    """`load_weights` when an engine starts; the second start changes nothing.

    MONAI's `CheckpointLoader` does the same without a check of the hash and with errors that list every key.
    """

    def __init__(
        self, path: str | Path, network: torch.nn.Module, bundle_root: str, **settings: Sequence[float]
    ) -> None:
        self.path = user_path(path)
        self.network = network
        self.bundle_root = bundle_root
        self.settings = settings
        self.loaded = False

    def attach(self, engine: Engine) -> None:
        """Register with an engine."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Load the weights; errors as in `load_weights`."""
        if not self.loaded:
            load_weights(self.network, self.path, self.bundle_root, **self.settings)
            self.loaded = True
