"""Reading and writing volumes along the scan by index tables, so that no caller unrolls volumes by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from .problem import ScanInputs

Block = tuple[slice, slice]  # parts of the batch and of the directions
EVERYTHING = (slice(None), slice(None))


class ScanOrder:
    """Rows in scan order, (T, B, K, F), of volumes (B, K or 1, L, F) in voxel order, and the way back.

    Args:
        inputs: the scan; everything is read in its compute type.
    """

    def __init__(self, inputs: ScanInputs) -> None:
        self.batch, self.directions, self.length, _ = inputs.delta.shape
        self.dtype = inputs.dtype
        self.order = order = inputs.order
        if order is not None:
            order = order.long()
            batch, directions, length, device = self.batch, self.directions, self.length, order.device
            b = torch.arange(batch, device=device)[:, None]
            k = torch.arange(directions, device=device)
            token = order.T[:, None, :]
            self.shared_rows = b * length + token  # (L, B, K)
            self.own_rows = (b * directions + k) * length + token
            step = torch.arange(length, device=device)
            inverse = torch.empty_like(order).scatter_(1, order, step.expand_as(order))
            self.scan_rows = (inverse[:, None, :] * batch + b) * directions + k[:, None, None]  # (K, B, L)

    def read(self, volume: Tensor, start: int, stop: int, block: Block = EVERYTHING) -> Tensor:
        """Rows of steps start..stop, (T, B, K, F), of a block of a volume (B, K, L, F) or (B, 1, L, F)."""
        batch, directions = block
        if self.order is None:
            rows = volume.expand(-1, self.directions, -1, -1)[batch, directions, start:stop].permute(2, 0, 1, 3)
            return rows.to(self.dtype).contiguous()
        rows = self.own_rows if volume.shape[1] == self.directions else self.shared_rows
        index = rows[start:stop, batch, directions]
        features = volume.shape[-1]
        picked = volume.reshape(-1, features).index_select(0, index.reshape(-1))
        return picked.to(self.dtype).view(*index.shape, features)

    def write(self, rows: Tensor) -> Tensor:
        """Volume (B, K, L, F) of the rows (L, B, K, F) of all steps."""
        if self.order is None:
            return rows.permute(1, 2, 0, 3).contiguous()
        index = self.scan_rows.transpose(0, 1).reshape(-1)
        features = rows.shape[-1]
        picked = rows.view(-1, features).index_select(0, index)
        return picked.view(self.batch, self.directions, self.length, features)

    def write_sum(self, rows: Tensor) -> Tensor:
        """Volume (B, L, F) of the rows (L, B, K, F) of all steps, summed over the directions."""
        if self.order is None:
            return rows.sum(2).transpose(0, 1).contiguous()
        features = rows.shape[-1]
        flat = rows.view(-1, features)
        total = flat.index_select(0, self.scan_rows[0].reshape(-1))
        for index in self.scan_rows[1:]:  # one direction at a time: no second copy of all of them
            total += flat.index_select(0, index.reshape(-1))
        return total.view(self.batch, self.length, features)
