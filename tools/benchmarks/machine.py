"""What a figure belongs to: the machine, its arithmetic rates, and how time and memory are measured on it."""

from __future__ import annotations

import ctypes
import datetime
import gc
import math
import multiprocessing
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch

SHORTEST_SAMPLE = 0.05  # seconds: quicker functions are called several times for one sample
LARGEST_COUNT = 100


def describe(device: torch.device, threads: int) -> dict[str, object]:
    """Processor with its vectors, threads, version of PyTorch and date; the name of the GPU if that is the device."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        cpu = next(iter(re.findall(r"model name\s*: (.*)", cpuinfo.read_text())), cpu)
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    return {
        "device": device.type,
        "cpu": f"{cpu}, {torch.backends.cpu.get_cpu_capability()}",
        **gpu,
        "threads": threads,
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
    }


@dataclass
class Stopwatch:
    """Samples of the time that a function takes on a device; on a GPU its events tell the time.

    For each sample, `seconds` is the wall time of one call, and `cpu_seconds` that of all cores (empty on a GPU).
    """

    function: Callable[[], object]
    device: torch.device
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._calls = 1
        for _ in range(2):  # the first call loads, compiles and fills caches
            self.sample()
            if self.seconds[-1] > SHORTEST_SAMPLE:
                break
        self._calls = min(max(math.ceil(SHORTEST_SAMPLE / max(self.seconds[-1], 1e-9)), 1), LARGEST_COUNT)
        self.seconds.clear()
        self.cpu_seconds.clear()

    def sample(self) -> None:
        """Take one sample."""
        if self.device.type == "cuda":
            started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            started.record()
            self._repeat()
            ended.record()
            ended.synchronize()
            self.seconds.append(started.elapsed_time(ended) / 1000 / self._calls)
            return
        wall, cpu = time.perf_counter(), time.process_time()
        self._repeat()
        self.cpu_seconds.append((time.process_time() - cpu) / self._calls)
        self.seconds.append((time.perf_counter() - wall) / self._calls)

    def _repeat(self) -> None:
        for _ in range(self._calls):
            self.function()

    def result(self) -> dict[str, float]:
        """Median and shortest time and median processor time of a call, in seconds.

        The time is wall time. On one thread of a CPU it is processor time, which other programs do not lengthen.
        """
        seconds = self.cpu_seconds if self.cpu_seconds and torch.get_num_threads() == 1 else self.seconds
        cpu = {"cpu_seconds": median(self.cpu_seconds)} if self.cpu_seconds else {}
        return {"seconds": median(seconds), "shortest_seconds": min(seconds), **cpu}


def take_turns(watches: Collection[Stopwatch | Rates], rounds: int) -> None:
    """Take so many samples of each, in turns, so that a change of the machine's speed meets all of them."""
    for _ in range(rounds):
        for watch in watches:
            watch.sample()


def run_measured(command: Sequence[str], threads: int, quiet: bool = False) -> dict[str, float]:
    """Run a command in a process of its own with so many threads; `quiet` shows its errors only.

    Returns `seconds` (wall), `cpu_seconds` (of all cores) and `peak_GiB` (memory).
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL if quiet else None)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_GiB": usage.ru_maxrss / 1024**2}


def peak_extra_memory(
    prepare: Callable[[], Callable[[], object]],
    device: torch.device,
    threads: int,
    warm_up: Callable[[], Callable[[], object]] | None = None,
) -> float | None:
    """Most memory that a function takes beyond what was there before its call, in MiB; None if it cannot be measured.

    On the CPU that is the growth of the resident set of a fresh process, which Linux alone can tell; `prepare`, which
    makes the function, is pickled. `warm_up` makes a small one of the same kind, which is called before.
    """
    if device.type == "cuda":
        run = prepare()
        run()
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    if not os.access("/proc/self/clear_refs", os.W_OK):
        return None
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as pool:
        return pool.submit(_growth, prepare, threads, warm_up).result()


def _growth(prepare: Callable[[], Callable[[], object]], threads: int, warm_up: Any) -> float:
    torch.set_num_threads(threads)
    if warm_up is not None:
        warm_up()()
    run = prepare()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    found = 0
    for _ in range(2):  # the system may take other pages away during one of them, which hides what is new
        gc.collect()
        if trim:
            trim(0)  # else the call takes pages that are free
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak of the resident set
        before = _status("VmRSS")
        run()
        found = max(found, _status("VmHWM") - before)
    return found / 1024


def _status(name: str) -> int:
    """A figure of this process in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


class Rates:
    """Measures how fast a device computes exponentials and fused multiply-adds.

    Exponentials: ``torch.exp2`` in float32 on arrays that stay in the caches. Multiply-adds: a float32 matrix product.
    """

    def __init__(self, device: torch.device, threads: int) -> None:
        gpu = device.type == "cuda"
        self._elements, size = (1 << 22, 4096) if gpu else (threads << 15, 1024)
        powers, matrix = torch.linspace(-20, 0, self._elements, device=device), torch.ones(size, size, device=device)
        result, self._fmas = torch.empty_like(powers), size**3
        self._exp2 = Stopwatch(lambda: torch.exp2(powers, out=result), device)
        self._fma = Stopwatch(lambda: torch.mm(matrix, matrix), device)

    def sample(self) -> None:
        """Take one sample of each."""
        self._exp2.sample()
        self._fma.sample()

    def result(self) -> dict[str, object]:
        """Exponentials and multiply-adds per second, of one lane each, and how the latter were measured."""
        return {
            "exp2_per_second": self._elements / self._exp2.result()["seconds"],
            "fma_per_second": self._fmas / self._fma.result()["seconds"],
            "fma_from": "matrix product in float32",
        }
