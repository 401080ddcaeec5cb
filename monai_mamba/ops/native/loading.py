"""Whether the native kernel can be used, found out when a scan first needs to know."""

from __future__ import annotations

import logging
import math
import os
import threading
import warnings

import torch
from torch import Tensor

from .. import torch_scan
from .build import BuildError, Target, build, find_target
from .kernel import Kernel

VARIABLE = "MONAI_MAMBA_NO_JIT"
WORTH_COMPILING = 100_000_000  # state updates; PyTorch takes about 0.2 s for them
SELF_CHECK_TOLERANCE = 1e-4  # relative to the largest value

_log = logging.getLogger(__name__)


class Loader:
    """Finds, compiles, loads and checks the library; once, whatever comes of it."""

    def __init__(self) -> None:
        self.kernel: Kernel | None = None
        self._failure = ""
        self._target: Target | None = None
        self._work = 0
        self._lock = threading.Lock()

    def obstacle(self, updates: int = 0, insist: bool = False) -> str:
        """Say why the kernel cannot be used now; empty if it can.

        A library that is there is loaded. One that is not is compiled as soon as the scans of this process add up to
        `WORTH_COMPILING`.

        Args:
            updates: state updates of the scan at hand.
            insist: compile whatever the work.
        """
        if os.environ.get(VARIABLE, "0") not in ("", "0"):
            return f"{VARIABLE} switches the native kernel off"
        if self.kernel is None and not self._failure:
            with self._lock:
                self._work += updates
                try:
                    return self._failure or self._find(insist)
                except (BuildError, OSError, AttributeError) as error:
                    self._failure = f"the native kernel cannot be used: {error}"
                    _log.debug("Selective scan: %s", self._failure)
        return self._failure

    def _find(self, insist: bool) -> str:
        if self.kernel is not None:
            return ""
        if type(torch.empty(0, device="cpu")) is not Tensor:
            return "the native kernel cannot be tried while tensors hold no numbers"  # under a FakeTensorMode
        if self._target is None:
            self._target = find_target()
        library = self._target.library
        if not library.exists():
            if not insist and self._work < WORTH_COMPILING:
                return f"the native kernel is compiled once a process has done {WORTH_COMPILING:,} state updates"
            build(self._target)
        kernel = Kernel(library)
        error = self_check(kernel)
        if not error <= SELF_CHECK_TOLERANCE:
            text = f"{library} computes wrong values here (error {error:.1g})"
            warnings.warn(f"The selective scan runs in plain PyTorch: {text}.", stacklevel=2)
            raise BuildError(text)
        self.kernel = kernel
        return ""


def self_check(kernel: Kernel) -> float:
    """Largest difference between kernel and PyTorch, relative to the largest value, over a small scan's results.

    The scan takes every path through the kernel: more than one chunk, group and block, and incomplete ones.
    """
    batch, directions, length, channels, states = 1, 2, 70, 37, 13

    def wave(*shape: int) -> Tensor:
        return torch.arange(math.prod(shape), dtype=torch.float32, device="cpu").mul_(0.7).sin_().view(shape)

    volume, rows = wave(batch, directions, length, channels), wave(batch, directions, length, states)
    token = torch.arange(length, device="cpu")
    inputs = (
        volume[:, :1] + 0.5,
        volume - 1,
        -(wave(directions, channels, states) + 1.5),
        rows,
        rows.flip(2),
        wave(directions, channels),
        torch.stack([token.flip(0), token * 3 % length]),
        True,
        True,
    )
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        results = []
        for scan in (torch_scan, kernel):
            y, last_state, saved = scan.forward(*inputs, True)
            results.append((y, last_state, *scan.backward(y, last_state, saved, *inputs)))
    return max(float((found - right).abs().max() / right.abs().max()) for right, found in zip(*results, strict=True))
