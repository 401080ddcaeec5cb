"""Frontal horns of the lateral ventricles in label maps for synthesis."""

from __future__ import annotations

import torch

from monai_mamba.files import read_tsv
from monai_mamba.labels import LABEL_FOLDER

SIDES = LABEL_FOLDER / "frontal_horns.tsv"


def clear_frontal_horns(ids: torch.Tensor) -> torch.Tensor:
    """Make choroid plexus in front of the thalamus of its side ventricle, in a copy: the frontal horns have none.

    The foramen of Monro, through which the plexus leaves the lateral ventricle, lies at the front of the thalamus. Some
    label maps continue the plexus along the floor of the frontal horn.

    Args:
        ids: ``(1, H, W, D)``, the last axis to the front. Ids of `frontal_horns.tsv`.
    """
    result = ids.clone()
    for row in read_tsv(SIDES):
        plexus, ventricle, thalamus = (int(row[name]) for name in ("plexus", "ventricle", "thalamus"))
        slices = torch.nonzero((ids == thalamus).flatten(0, 2).any(0))
        if len(slices):
            front = result[..., int(slices.max()) + 1 :]
            front[front == plexus] = ventricle
    return result
