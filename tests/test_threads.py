"""Threads are limited by what a process may use of a machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from monai_mamba import threads
from monai_mamba.threads import limit_threads, usable_cores

V2, V1 = "0::/a/b\n", "5:memory:/a\n4:cpu,cpuacct:/a/b\n0::/\n"


def files(root: Path, content: dict[str, str]) -> Path:
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "content", "cores"),
    [
        ("", {}, 16),
        (V2, {}, 16),
        (V2, {"a/b/cpu.max": "max 100000\n"}, 16),
        (V2, {"a/b/cpu.max": "200000 100000\n"}, 2),
        (V2, {"a/b/cpu.max": "150000 100000\n"}, 2),
        (V2, {"a/b/cpu.max": "50000 100000\n"}, 1),
        (V2, {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "100000 100000\n"}, 1),
        (V2, {"a/b/cpu.max": "9900000 100000\n"}, 16),
        (V1, {"cpu/a/b/cpu.cfs_quota_us": "300000\n", "cpu/a/b/cpu.cfs_period_us": "100000\n"}, 3),
        (V1, {"cpu/a/b/cpu.cfs_quota_us": "-1\n", "cpu/a/b/cpu.cfs_period_us": "100000\n"}, 16),
    ],
)
def test_the_smallest_quota_and_the_affinity_count(groups, content, cores, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    everything = {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": text for name, text in content.items()}}
    assert usable_cores(files(tmp_path, everything)) == cores


def test_threads_become_fewer_but_not_more_and_not_against_the_environment(monkeypatch):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        for cores, expected in ((9, 4), (3, 3)):
            monkeypatch.setattr(threads, "usable_cores", lambda cores=cores: cores)
            limit_threads()
            assert torch.get_num_threads() == expected
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        monkeypatch.setattr(threads, "usable_cores", lambda: 1)
        limit_threads()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
