"""No more threads than the process has processors for."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch


def limit_threads() -> None:
    """Give PyTorch no more threads than `usable_cores`; `OMP_NUM_THREADS`, where it is set, is left as it is.

    PyTorch counts the cores of the machine. In a container that may use one of them, its threads wait for each other.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))


def usable_cores(root: str | Path = "/") -> int:
    """Cores that this process may use, at least 1: by its affinity and by the quotas of its control groups (Linux).

    Args:
        root: where `proc` and `sys` are.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(affinity, _quota(Path(root)))))


def _quota(root: Path) -> float:
    """Smallest quota of the process's control group and those above it, in cores; infinite without one."""
    quotas = [math.inf]
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        folder = root / "sys/fs/cgroup" / ("" if not controllers else "cpu")
        group = Path(path.lstrip("/"))
        for part in (group, *group.parents):
            if controllers:  # version 1
                values = [_read(folder / part / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
            else:
                values = _read(folder / part / "cpu.max").split()
            if len(values) == 2 and all(value.strip().isdigit() for value in values):  # else "max" or -1: no limit
                quotas.append(int(values[0]) / int(values[1]))
    return min(quotas)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
