"""Images that are complete or not there."""

from __future__ import annotations

from functools import partial
from typing import Any

from monai.config import PathLike
from monai.data import NibabelWriter

from monai_mamba.files import write_atomically


class AtomicNibabelWriter(NibabelWriter):
    """MONAI's `NibabelWriter`, which gives a file its name when it is complete; for `SaveImaged(writer=...)`."""

    def write(self, filename: PathLike, verbose: bool = False, **obj_kwargs: Any) -> None:
        """Write as `NibabelWriter.write` does, see there, but leave an earlier file as it is if writing fails."""
        write_atomically(str(filename), partial(super().write, verbose=verbose, **obj_kwargs))
