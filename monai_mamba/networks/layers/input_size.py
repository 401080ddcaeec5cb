"""What networks ask of the size of an image."""

from __future__ import annotations

import torch

from monai_mamba.errors import InputError


def check_spatial_size(x: torch.Tensor, multiple: int, network: str) -> None:
    """Refuse an image `(B, C, H, W, D)` that a network's strides do not divide.

    Args:
        x: input of the network.
        multiple: product of the strides.
        network: name for the message.

    Raises:
        InputError: (a ValueError) naming the axis, its size and the required multiple.
    """
    if x.ndim != 5:
        raise InputError(f"{network} expects an image (B, C, H, W, D), got shape {tuple(x.shape)}.")
    for axis, size in zip("HWD", x.shape[2:], strict=True):
        if size % multiple:
            raise InputError(
                f"{network} needs spatial sizes that are multiples of {multiple}, but axis {axis} has {size} voxels: "
                f"pad or crop it, e.g. to {-(-size // multiple) * multiple}."
            )


def check_more_than_one_cell(x: torch.Tensor, multiple: int, network: str) -> None:
    """Refuse an image `(B, C, H, W, D)` whose deepest features are one voxel, which instance norm cannot normalize.

    Args:
        x: input of the network, which `check_spatial_size` has passed.
        multiple: product of the strides.
        network: name for the message.

    Raises:
        InputError: (a ValueError) if the image has exactly ``multiple`` voxels along each axis.
    """
    if all(size == multiple for size in x.shape[2:]):
        raise InputError(
            f"{network} needs more than one cell of {multiple} voxels at its deepest stage, whose values it "
            f"normalizes: got {tuple(x.shape[2:])}; pad an axis to {2 * multiple}."
        )
