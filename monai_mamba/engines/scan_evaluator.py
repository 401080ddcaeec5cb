"""Inference over many scans, of which some may be bad."""

from __future__ import annotations

import gzip
import logging
import time
import zlib

import torch
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from torch.utils.data import Subset

from monai_mamba.errors import BatchError, DeviceError, InputError, MonaiMambaError, WeightsError

logger = logging.getLogger(__name__)

OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


class ScanEvaluator(SupervisedEvaluator):
    """A `SupervisedEvaluator` that takes each scan of its data loader by itself.

    A scan that cannot be processed is reported, and the others go on. Arguments are those of `SupervisedEvaluator`; the
    items of the data loader's dataset are dictionaries as made by `find_scans`; messages call a scan by its entry
    `name`, or by `image` where it has none.
    """

    # Otherwise Ignite continues a run that ended in an error instead of starting the next one.
    interrupt_resume_enabled = False

    def run(self, global_epoch: int = 1) -> None:
        """Process all scans.

        Args:
            global_epoch: as in `SupervisedEvaluator`.

        Raises:
            WeightsError: the network cannot be used, so no scan can.
            MonaiMambaError: there was one scan, and it failed.
            BatchError: some of several scans failed; the message lists them.
        """
        self.logger.setLevel(logging.CRITICAL)  # Ignite would report every error twice more
        dataset = self.data_loader.dataset
        failures: list[MonaiMambaError] = []
        for index, scan in enumerate(dataset.data):
            started, name = time.monotonic(), scan.get("name", scan["image"])
            try:
                if "problem" in scan:
                    raise MonaiMambaError(scan["problem"])
                self._run_one(index, global_epoch)
            except WeightsError:
                raise
            except Exception as error:  # whatever is wrong with one scan must not stop the others
                failures.append(_explain(error, name, self.state.device))
                logger.error("[%d/%d] %s", index + 1, len(dataset), failures[-1])
            else:
                took = time.monotonic() - started
                logger.info("[%d/%d] %s: done in %.0f s, %s*", index + 1, len(dataset), name, took, scan["output"])
            finally:
                self.state.batch = self.state.output = None  # the probabilities of a head are large
        if failures and len(dataset) == 1:
            raise failures[0]
        if failures:
            text = "\n".join(f"  {failure}" for failure in failures)
            raise BatchError(f"{len(failures)} of {len(dataset)} scans failed, the others are done:\n{text}")

    def _run_one(self, index: int, global_epoch: int) -> None:
        whole = self.data_loader
        self.data_loader = DataLoader(Subset(whole.dataset, [index]), batch_size=1, num_workers=0)
        self.state.epoch_length = 1
        try:
            super().run(global_epoch)
        finally:
            self.data_loader = whole


def _explain(error: BaseException, image: str, device: torch.device) -> MonaiMambaError:
    """The error a user should read: our own if there is one in the chain of causes, or what happened at its root."""
    root = error
    while not isinstance(root, MonaiMambaError) and (cause := root.__cause__ or root.__context__) is not None:
        root = cause
    if isinstance(root, MonaiMambaError):
        return root
    text = (str(root).strip() or type(root).__name__).splitlines()[0]
    if isinstance(root, (MemoryError, torch.OutOfMemoryError)) or any(part in text.lower() for part in OUT_OF_MEMORY):
        return DeviceError(
            f"{image}: out of memory on {device}. Lower --sw_batch_size (1 needs least) or --overlap, close other "
            "programs, or use another device (--device cpu)."
        )
    if isinstance(root, (EOFError, zlib.error, gzip.BadGzipFile)):
        return InputError(f"{image}: the file is damaged ({text}). Copy it again from its source.")
    return MonaiMambaError(f"{image}: could not be processed ({type(root).__name__}: {text}).")
