"""What networks ask of their arguments, and of the size of an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from monai_mamba.errors import InputError


def check_arguments(
    network: nn.Module,
    spatial_dims: int,
    mixer: str | None = None,
    mixers: Sequence[str] = (),
    **lengths: tuple[Sequence[int], int],
) -> None:
    """Refuse arguments that a network does not have; ``lengths`` are lists by name, each with the length it must have.

    Raises:
        ValueError: ``spatial_dims`` is not 3, the network has no such ``mixer``, or a list has a wrong length.
    """
    if spatial_dims != 3:
        raise ValueError(f"{type(network).__name__} supports spatial_dims=3 only, got {spatial_dims}.")
    if mixer not in (*mixers, None):
        known = ", ".join(f'"{name}"' for name in mixers)
        raise ValueError(f"mixer must be {known} or None, got {mixer!r}.")
    for name, (values, length) in lengths.items():
        if len(values) != length:
            raise ValueError(f"{name} must have {length} numbers, got {list(values)}.")


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
