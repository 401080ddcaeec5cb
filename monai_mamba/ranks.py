"""What all processes of a run (`torchrun`) take from the first one; the rest is in `ignite.distributed`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import ignite.distributed as idist

from monai_mamba.errors import MonaiMambaError

P = ParamSpec("P")
T = TypeVar("T")


def on_first_rank(function: Callable[P, T]) -> Callable[P, T]:
    """Let the first process alone call a function, and give its result, or its error, to all.

    For what must not differ between processes, such as a list of files in a folder that changes meanwhile.

    Args:
        function: its result can be pickled; all processes call it together.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        answer: tuple = (None, None)
        if idist.get_rank() == 0:
            try:
                answer = (function(*args, **kwargs), None)
            except MonaiMambaError as error:
                answer = (None, error)
        result, error = idist.all_gather(answer)[0]
        if error is not None:
            raise error
        return result

    return call
