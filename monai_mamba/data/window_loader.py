"""Feeding the windows of one scan after the other, for gradients accumulated over a scan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from monai.data import DataLoader, Dataset, list_data_collate


class WindowLoader(DataLoader):
    """Loads scans, and yields their windows one at a time, those of a scan in sequence.

    With `SupervisedTrainer(accumulation_steps=windows_per_scan)` each scan is one step of the optimizer while the
    activations of a single window are in memory. It is a `DataLoader`, so that MONAI's engines find its sampler.

    Args:
        dataset: gives a list of `windows_per_scan` windows for each scan, as `WindowGridd` does.
        windows_per_scan: number of windows of every scan.
        kwargs: as for `DataLoader`: `shuffle`, `sampler`, `num_workers`, ...
    """

    def __init__(self, dataset: Dataset, windows_per_scan: int, **kwargs: Any) -> None:
        super().__init__(dataset, batch_size=1, collate_fn=_only_scan, **kwargs)
        self.windows_per_scan = windows_per_scan

    def __len__(self) -> int:
        """Windows in one pass over the scans."""
        return super().__len__() * self.windows_per_scan

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Batches of one window.

        Raises:
            ValueError: a scan has another number of windows than announced, which would mix scans in one step.
        """
        for windows in super().__iter__():
            if len(windows) != self.windows_per_scan:
                raise ValueError(f"A scan has {len(windows)} windows, expected {self.windows_per_scan}.")
            for window in windows:
                yield list_data_collate([window])


def _only_scan(batch: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return batch[0]
