"""Rotary position encoding of the voxels of a volume."""

from __future__ import annotations

import torch

from monai_mamba.ops.recording import arange_beside


def rotate_by_position(x: torch.Tensor, theta: float = 10000.0) -> torch.Tensor:
    """Rotate pairs of channels of ``(B, H, W, D, C)`` by angles that grow with the position along H, W and D.

    The channels up to the last multiple of 6 form one chunk per axis; in a chunk of width 2 m, channels i and i + m
    turn by ``position * theta ** (-i / m)``, and the rest stays. Unlike in attention with rotary queries and keys (Su
    et al., arXiv 2104.09864), the features themselves are rotated, so that they carry the absolute position. The type
    stays that of x, and every channel pair keeps its norm. Source: SegMaFormer, arXiv 2603.22002.
    """
    m = x.shape[-1] // 6
    if m == 0:
        return x
    frequencies = theta ** (-arange_beside(x, m).float() / m)
    *chunks, rest = x.split([2 * m, 2 * m, 2 * m, x.shape[-1] - 6 * m], dim=-1)
    rotated = []
    for axis, chunk in enumerate(chunks, start=1):
        position = arange_beside(x, x.shape[axis]).float()
        angle = (position[:, None] * frequencies).reshape(-1, *[1] * (3 - axis), m)
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        first, second = chunk.chunk(2, dim=-1)
        rotated += [first * cos - second * sin, first * sin + second * cos]
    return torch.cat([*rotated, rest], dim=-1)
