"""Files that are complete or not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path` and give it its name when it is complete and on disk.

    Args:
        path: the file; its folder is made where it is missing.
        write: called with the path of the temporary file, which has the same ending.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    # The ending stays, because writers choose the format by it; the leading dot hides what a kill leaves behind.
    temporary = final.with_name(f".{os.getpid()}.tmp.{final.name}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
