"""Checks of what the user asked for, before the network is built and any scan is read."""

from __future__ import annotations

import atexit
import gc
import logging
import multiprocessing
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import torch

from monai_mamba.bundle import check_options
from monai_mamba.errors import DeviceError, InputError, show_errors_briefly, writing
from monai_mamba.files import user_path
from monai_mamba.handlers.weights import check_weights
from monai_mamba.networks.layers.input_size import check_spatial_size
from monai_mamba.threads import limit_threads


def preflight(
    *,
    output_dir: str | Path | None = None,
    device: str | torch.device | None = None,
    weights: str | Path | None = None,
    bundle_root: str | Path = ".",
    checkpoint: str | Path | None = None,
    **flags: object,
) -> None:
    """Check what a config was given, as the first entry of its `initialize` and `run`; what is None is not looked at.

    In `initialize` it has no arguments, since options may change in it (see `check_options`). From then on an error of
    the package ends the program with its sentence alone (`show_errors_briefly`), PyTorch has no more threads than the
    process has processors (`limit_threads`), processes for data are forked on Linux, and MONAI does not warn of readers
    that nothing uses.

    Args:
        output_dir: see `check_output_dir`.
        device: see `check_device`.
        weights: weights file, see `check_weights`.
        bundle_root: folder of the bundle that the weights may have come with.
        checkpoint: file for the checkpoint of a training, which is first written when its first epoch is complete.
        flags: options that must be True or False, by name, see `check_flags`.

    Raises:
        InputError: an option is not one of the config (see `check_options`), a flag is no flag, or the checkpoint is a
            folder.
        OutputError: results cannot be written to `output_dir`, or beside the checkpoint.
        DeviceError: there is no such device.
        WeightsError: the weights file is missing, or damaged.
    """
    show_errors_briefly()
    limit_threads()
    atexit.register(gc.freeze)  # else Python's last search for cycles in all modules takes a second
    if sys.platform == "linux" and multiprocessing.get_start_method() == "forkserver":
        # The default from Python 3.14 on, which hands over 250 tensors at most, fewer than data sets in memory have.
        multiprocessing.set_start_method("fork", force=True)
    # With pydicom, each `LoadImage` of MONAI also makes a reader for DICOM on GPUs, which warns that it is not one.
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
    check_options()
    check_flags(**flags)
    if output_dir is not None:
        check_output_dir(output_dir)
    if checkpoint is not None:
        path = user_path(checkpoint)
        if path.is_dir():
            raise InputError(
                f"--checkpoint is {path}, a folder; expected a file. Give one, such as {path / 'checkpoint.pt'}."
            )
        check_output_dir(path.parent)
    if device is not None:
        check_device(device)
    if weights is not None:
        check_weights(weights, bundle_root)


def check_output_dir(output_dir: str | Path) -> None:
    """Make the folder for the results, and try to write there.

    Raises:
        OutputError: it cannot be made, or cannot be written to.
    """
    folder = user_path(output_dir)  # on the command line, a name in digits is a number
    probe = folder / f".monai_mamba.{uuid4().hex}.tmp"
    with writing(f"{folder}: results"):
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"0")
        probe.unlink()


def check_flags(**flags: object) -> None:
    """Refuse options that are neither True nor False: on the command line, `--amp false` is a text and counts as true.

    Raises:
        InputError: names the first that is neither.
    """
    for name, value in flags.items():
        if value not in (True, False):
            raise InputError(f"--{name} is '{value}', expected True or False, spelled like this.")


def check_windows(network: torch.nn.Module, **sizes: Sequence[int]) -> None:
    """Refuse windows that a network does not take, see `check_spatial_size`; one without `stride` is not asked.

    Args:
        network: the network, or one that holds it as its `network`.
        sizes: options by name, each the size of a window in voxels, `(3,)`.

    Raises:
        InputError: names the option and its value, and says what `check_spatial_size` does.
    """
    network = getattr(network, "network", network)
    for name, size in sizes.items() if hasattr(network, "stride") else ():
        try:
            check_spatial_size(torch.empty(1, 1, *size, device="meta"), network)
        except InputError as error:
            raise InputError(f"--{name} is {list(size)}: {error}") from None


def check_device(device: str | torch.device) -> None:
    """Try to use a device.

    Raises:
        DeviceError: PyTorch does not know it, or it is not there.
    """
    there = [f"cuda:{index}" for index in range(torch.cuda.device_count())] + ["cpu"]
    try:
        torch.zeros(1, device=device)
    except Exception as error:  # a different type for each kind of device that is not there
        raise DeviceError(
            f"Device '{device}' cannot be used. Choose one of these with --device: {', '.join(there)}."
        ) from error
