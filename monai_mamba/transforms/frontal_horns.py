"""Frontal horns of the lateral ventricles in label maps for synthesis."""

from __future__ import annotations

import torch

__all__ = ["clear_frontal_horns"]

SIDES = ((136, 4, 10), (163, 43, 49))  # choroid plexus, lateral ventricle, thalamus


def clear_frontal_horns(ids: torch.Tensor) -> torch.Tensor:
    """Make choroid plexus in front of the thalamus of its side ventricle: the frontal horns have none.

    The foramen of Monro, through which the plexus leaves the lateral ventricle, lies at the front of the thalamus. Some
    label maps continue the plexus along the floor of the frontal horn.

    Args:
        ids: ``(1, H, W, D)``, the last axis to the front. FreeSurfer ids, and 136 and 163 for the plexus.

    Returns:
        A changed copy.
    """
    result = ids.clone()
    for plexus, ventricle, thalamus in SIDES:
        slices = torch.nonzero((ids == thalamus).flatten(0, 2).any(0))
        if len(slices):
            front = result[..., int(slices.max()) + 1 :]
            front[front == plexus] = ventricle
    return result
