"""What networks ask of the size of an image."""

from __future__ import annotations

import torch
from torch import nn

from monai_mamba.errors import InputError


def check_spatial_size(x: torch.Tensor, network: nn.Module) -> None:
    """Refuse an image `(B, C, H, W, D)` that the `stride` of a network does not divide.

    Args:
        x: input of the network.
        network: the network. With `normalizes`, its instance norms need more than one voxel at the deepest stage.

    Raises:
        InputError: (a ValueError) naming the axis, its size and the required multiple.
    """
    name, stride = type(network).__name__, network.stride
    if x.ndim != 5:
        raise InputError(f"{name} expects an image (B, C, H, W, D), got shape {tuple(x.shape)}.")
    for axis, size in zip("HWD", x.shape[2:], strict=True):
        if size % stride:
            raise InputError(
                f"{name} needs spatial sizes that are multiples of {stride}, but axis {axis} has {size} voxels: pad "
                f"or crop it, e.g. to {-(-size // stride) * stride}."
            )
    if getattr(network, "normalizes", False) and all(size == stride for size in x.shape[2:]):
        raise InputError(
            f"{name} needs more than one cell of {stride} voxels at its deepest stage, whose values it normalizes: got "
            f"{tuple(x.shape[2:])}; pad an axis to {2 * stride}."
        )
