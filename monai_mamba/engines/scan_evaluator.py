"""Inference over many scans, of which some may be bad."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from torch.utils.data import Subset

from monai_mamba.data.case_table import CaseOutcome, check_case_table, read_volumes, write_case_table
from monai_mamba.data.quality import QualityLimits
from monai_mamba.data.scans import RESULTS
from monai_mamba.data.unpacking import first_line
from monai_mamba.errors import (
    BatchError,
    DeviceError,
    InputError,
    MonaiMambaError,
    QualityError,
    WeightsError,
    causes,
    own_error,
)
from monai_mamba.ranks import gather_on_first_rank, rank_and_size

logger = logging.getLogger(__name__)

OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


class ScanEvaluator(SupervisedEvaluator):
    """A `SupervisedEvaluator` that takes each scan of its data loader by itself.

    A scan that cannot be processed is reported, and the others go on. While one is computed, a thread reads and
    prepares the next, and another writes the results of the one before, never more. The items of the data loader's
    dataset are dictionaries as made by `find_scans`; messages call a scan by its entry `name`, or by `image` where it
    has none.

    In a run of several processes (torch.distributed) with the same dataset, each takes every n-th of the scans that are
    not finished. The processes meet only at the end, where the first one gets to know what became of all scans.

    Args:
        args: those of `SupervisedEvaluator`, as are the other keywords.
        case_table: file for a table of all scans, see `write_case_table`; the first process writes it when all
            processes are through. A run of one scan has none.
        quality: limits by which results are graded, as a warning in the log and in the table; None does not grade.
        strict: results graded `fail` end the run with an error. They are written all the same.

    Raises:
        InputError: there is another file, or a folder, where the table would be written; or `strict` without `quality`.
    """

    # Otherwise Ignite continues a run that ended in an error instead of starting the next one.
    interrupt_resume_enabled = False

    def __init__(
        self,
        *args: Any,
        case_table: str | Path | None = None,
        quality: QualityLimits | None = None,
        strict: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if strict and quality is None:
            raise InputError("--strict True, but nothing grades the results: there are no limits. Leave it out.")
        self.case_table = None if case_table is None else check_case_table(case_table)
        self.quality = quality
        self.strict = strict
        self._results: list[Callable[[], None]] = []

    def write(self, results: Callable[[], None]) -> None:
        """Have a function write results of the scan at hand, while the next one is computed.

        Args:
            results: the function; its error is that of the scan.
        """
        self._results.append(results)

    def run(self, global_epoch: int = 1) -> None:
        """Process all scans.

        Args:
            global_epoch: as in `SupervisedEvaluator`.

        Raises:
            WeightsError: the network cannot be used, so no scan can.
            MonaiMambaError: there was one scan, and it failed; in the first process only.
            BatchError: some of several scans failed; the message lists them. In the first process only.
            QualityError: with `strict`, results are graded `fail`; in the first process only.
            OutputError: the table cannot be written; in the first process only.
        """
        self.logger.setLevel(logging.CRITICAL)  # Ignite would report every error twice more
        dataset = self.data_loader.dataset
        scans = dataset.data
        (rank, size), to_do = rank_and_size(), [index for index, scan in enumerate(scans) if "finished" not in scan]
        batches = _prepare_ahead(dataset, to_do[rank::size])
        written: dict[int, Future[CaseOutcome]] = {}
        with ThreadPoolExecutor(1) as thread:  # which ends when all is written, also after an error or an interrupt
            for index, batch in batches:
                started = time.monotonic()
                problem = self._run_one(batch, global_epoch)
                wait(written.values())
                written[index] = thread.submit(self._finish, dataset, index, started, self._results, problem)
                del problem  # its frames keep the voxels
        parts = gather_on_first_rank({index: outcome.result() for index, outcome in written.items()})
        if parts is None:
            return
        attempted = {index: outcome for part in parts for index, outcome in part.items()}
        outcomes = [attempted.get(index) or self._outcome(scan, "skipped") for index, scan in enumerate(scans)]
        if self.case_table is not None and len(scans) > 1:
            write_case_table(self.case_table, outcomes)
        elif self.case_table is not None and self.case_table.is_file() and outcomes[0].status == "done":
            text = "%s is of an earlier run, without this result. To renew it, run again with all scans as --input."
            logger.warning(text, self.case_table)
        failures = [outcome.error for outcome in outcomes if outcome.error]
        if failures and len(scans) == 1:
            raise failures[0]
        if failures:
            text = "\n".join(f"  {failure}" for failure in failures)
            raise BatchError(f"{len(failures)} of {len(scans)} scans failed, the others are done:\n{text}")
        wrong = [outcome for outcome in outcomes if outcome.quality and outcome.quality.grade == "fail"]
        if wrong and self.strict:
            text = "\n".join(f"  {outcome.name}: {outcome.quality.reason}" for outcome in wrong)
            raise QualityError(f"The results of {len(wrong)} of {len(scans)} scans are probably wrong:\n{text}")

    def _finish(
        self,
        dataset: Dataset,
        index: int,
        started: float,
        results: Sequence[Callable[[], None]],
        failure: Exception | None,
    ) -> CaseOutcome:
        """Write the results of a scan, unless it failed, and report."""
        scan, number = dataset.data[index], f"[{index + 1}/{len(dataset)}]"
        name = _name(scan)
        try:
            if failure:
                raise failure
            for write in results:
                write()
        except Exception as problem:  # whatever is wrong with one scan must not stop the others
            error = _explain(problem, name, self.state.device)
            if len(dataset) > 1:  # its frames would keep the voxels of every scan that failed until the last is done
                error = error.with_traceback(None)
                error.__cause__ = error.__context__ = None
            logger.error("%s %s", number, error)
            took = None if "problem" in scan else time.monotonic() - started
            return CaseOutcome(name, "failed", took, error)
        took = time.monotonic() - started
        logger.info("%s %s: done in %.0f s, %s*", number, name, took, scan["output"])
        outcome = self._outcome(scan, "done", took)
        if outcome.quality:
            outcome.quality.log(name)
        return outcome

    def _outcome(
        self, scan: Mapping[str, Any], status: Literal["done", "skipped"], seconds: float | None = None
    ) -> CaseOutcome:
        """What became of a scan whose results are there."""
        path = scan["output"] + RESULTS["volumes"]
        quality = self.quality.rate(path) if self.quality else None
        return CaseOutcome(_name(scan), status, seconds, None, read_volumes(path), quality, scan.get("note", ""))

    def _run_one(self, batch: Future, global_epoch: int) -> Exception | None:
        """Compute a scan; return what went wrong."""
        whole, self._results = self.data_loader, []
        self.data_loader = map(Future.result, [batch])
        self.state.epoch_length = 1
        try:
            super().run(global_epoch)
        except WeightsError:
            raise
        except Exception as problem:
            return problem
        finally:
            self.data_loader = whole
            self.state.batch = self.state.output = self.state.dataloader = None  # the voxels of a head are many
        return None


def _prepare_ahead(dataset: Dataset, indices: Sequence[int]) -> Iterator[tuple[int, Future]]:
    """The batch of each scan, while a thread prepares that of the next one."""
    with ThreadPoolExecutor(1) as thread:
        batches = ((index, thread.submit(_prepare, dataset, index)) for index in indices)
        yield from (batch for batch, _ in pairwise(chain(batches, [None])))


def _prepare(dataset: Dataset, index: int) -> Any:
    if "problem" in dataset.data[index]:
        raise MonaiMambaError(dataset.data[index]["problem"])
    return next(iter(DataLoader(Subset(dataset, [index]), batch_size=1, num_workers=0)))


def _name(scan: Mapping[str, Any]) -> str:
    return scan.get("name", scan["image"])


def _explain(error: BaseException, image: str, device: torch.device) -> MonaiMambaError:
    """The error a user should read: our own if there is one in the chain of causes, or what happened at its root."""
    if own := own_error(error):
        return own
    *_, root = causes(error)
    text = first_line(root)
    if isinstance(root, (MemoryError, torch.OutOfMemoryError)) or any(part in text.lower() for part in OUT_OF_MEMORY):
        return DeviceError(
            f"{image}: out of memory on {device}. Lower --sw_batch_size (1 needs least) or --overlap, close other "
            "programs, or use another device (--device cpu)."
        )
    return MonaiMambaError(f"{image}: could not be processed ({type(root).__name__}: {text}).")
