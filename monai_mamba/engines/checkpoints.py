"""Checkpoints to go on from."""

from __future__ import annotations

import zipfile
from pathlib import Path


def latest_checkpoint(folder: str | Path, pattern: str = "checkpoint_epoch=*.pt") -> str | None:
    """Path of the newest complete checkpoint, or None if there is none.

    PyTorch writes the directory of its zip archives last. A file that was cut short, by a kill or a full disk, is
    therefore recognized without reading it, and the one before it is taken.

    Args:
        folder: where the checkpoints are; need not exist.
        pattern: their names.
    """
    files = sorted(Path(folder).glob(pattern), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return next((str(path) for path in files if zipfile.is_zipfile(path)), None)
