"""Batches for training on one sub-lattice of the output at a time."""

from __future__ import annotations

from typing import Any

import torch
from monai.engines import default_prepare_batch


class PrepareSubvoxelBatch:
    """A ``prepare_batch`` that asks a network with ``stem_stride`` for one random sub-voxel, the label cut to match.

    Args:
        stem_stride: the network's ``stem_stride``; 1, as in networks without one, leaves batches as they are.
    """

    def __init__(self, stem_stride: int = 2) -> None:
        self.stem_stride = stem_stride

    def __call__(
        self,
        batchdata: dict[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, tuple, dict[str, int]]:
        """Image ``(B, C, H, W, D)``, label ``(B, 1, H / s, W / s, D / s)``, no arguments, and the network's keyword."""
        image, label = default_prepare_batch(batchdata, device, non_blocking, **kwargs)
        s = self.stem_stride
        if s == 1:
            return image, label, (), {}
        subvoxel = int(torch.randint(s**3, ()))
        i, j, k = subvoxel // s**2, subvoxel // s % s, subvoxel % s
        return image, label[..., i::s, j::s, k::s], (), {"subvoxel": subvoxel}
