"""Scans that do not fit into memory, on two threads and on one: a module that the test beside it runs as a process."""

from __future__ import annotations

import resource
from pathlib import Path

import torch

from monai_mamba.ops import cross_selective_scan


def scan(states: int) -> torch.Tensor:
    """A scan by the C++ kernel."""
    delta, A = torch.zeros(1, 2, 3, 1), torch.zeros(2, 1, states)
    rows = A[None].expand(1, 2, 3, states)
    return cross_selective_scan(delta[:, 0], delta, A, rows, rows, None, None, backend="native")


if __name__ == "__main__":
    torch.set_num_threads(2)
    scan(10)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 150_000_000, resource.RLIM_INFINITY))
    for threads in (2, 1):
        torch.set_num_threads(threads)
        try:
            scan(4_000_000)
        except MemoryError as error:
            print(error)
