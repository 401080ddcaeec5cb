"""What the processes of a run (`torchrun`) tell each other. A run of one process is its own first one.

Not `ignite.distributed`: it stays with a process group that was destroyed, and the next run in the process fails.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch.distributed as dist

from monai_mamba.errors import MonaiMambaError

P = ParamSpec("P")
T = TypeVar("T")


def rank_and_size() -> tuple[int, int]:
    """Number of this process, from 0, and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def on_first_rank(function: Callable[P, T]) -> Callable[P, T]:
    """Let the first process alone call a function, and give its result, or its error, to all.

    For what must not differ between processes, such as a list of files in a folder that changes meanwhile.

    Args:
        function: its result can be pickled; all processes call it together.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        rank, size = rank_and_size()
        if size == 1:
            return function(*args, **kwargs)
        answer: list = [None, None]
        if rank == 0:
            try:
                answer[0] = function(*args, **kwargs)
            except MonaiMambaError as error:
                answer[1] = error
        dist.broadcast_object_list(answer, src=0)
        if answer[1] is not None:
            raise answer[1]
        return answer[0]

    return call


def gather_on_first_rank(item: T) -> list[T] | None:
    """The item of each process in the first one, None in the others. Waits until all processes have come here."""
    rank, size = rank_and_size()
    if size == 1:
        return [item]
    gathered: list | None = [None] * size if rank == 0 else None
    dist.gather_object(item, gathered, dst=0)
    return gathered
