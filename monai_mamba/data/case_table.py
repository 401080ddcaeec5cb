"""What became of each case of a run, as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from monai_mamba.data.quality import Quality
from monai_mamba.errors import InputError, MonaiMambaError, writing
from monai_mamba.files import MISSING, read_tsv, table_text, user_path, write_text
from monai_mamba.labels import measure_brain

FIRST_COLUMNS = b"name\tstatus"


@dataclass(frozen=True)
class CaseOutcome:
    """What became of one case.

    Attributes:
        name: what messages call it, such as the path of its scan.
        status: `"done"` in this run, `"skipped"` because it had its results already, or `"failed"`.
        seconds: time from when the case before was through to its last file, or to its failure; None if it was not
            read.
        error: why it failed.
        volumes: volume in mm3 by structure and brain measure, see `read_volumes`; empty where it has no results.
        quality: grade of its results, where they are graded.
        note: what else is to be said of it.
    """

    name: str
    status: Literal["done", "skipped", "failed"]
    seconds: float | None = None
    error: MonaiMambaError | None = None
    volumes: Mapping[str, str] = field(default_factory=dict)
    quality: Quality | None = None
    note: str = ""

    def row(self) -> dict[str, str]:
        """Cells of the table by column; a message is one line."""
        message = "; ".join(filter(None, [str(self.error or (self.quality.reason if self.quality else "")), self.note]))
        about = {
            "name": self.name,
            "status": self.status,
            "seconds": MISSING if self.seconds is None else f"{self.seconds:.1f}",
            "quality": self.quality.grade if self.quality else MISSING,
            "message": " ".join(message.split()) or MISSING,
        }
        return about | dict(self.volumes)


def check_case_table(path: str | Path) -> Path:
    """Where a table of cases may be written: where nothing is yet, or an earlier one.

    Raises:
        InputError: something else is there, such as a scan.
    """
    path = user_path(path)
    if path.exists() and not path.is_file():
        raise InputError(f"--case_table is {path}, not a regular file; expected one, such as {path / 'cases.tsv'}.")
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(len(FIRST_COLUMNS)) != FIRST_COLUMNS:
                raise InputError(f"--case_table is {path}, which is not a table of cases; choose another name.")
    return path


def write_case_table(path: str | Path, outcomes: Sequence[CaseOutcome]) -> None:
    """Write a table (TSV) with a row a case, complete or not at all.

    Columns: `name`, `status`, `seconds`, `quality`, `message` (an error, or what is unusual), then for each structure
    of the cases' own tables its volume in mm3 under its name, and the volumes of the brain where they are known (see
    `measure_brain`). Cells without a value hold `n/a`. Cells with a tab, a line break or a quotation mark are quoted.

    Raises:
        OutputError: it cannot be written.
    """
    rows = [outcome.row() for outcome in outcomes]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    path = Path(path)
    advice = "The results of the cases are kept; free some space, and run the same command again."
    with writing(f"{path}: the table of all cases", advice):
        write_text(path, table_text(columns, [[row.get(column, MISSING) for column in columns] for row in rows]))


def read_volumes(path: str | Path) -> dict[str, str]:
    """Volume in mm3 by structure, as written in `..._volumes.tsv` of a case, and of the brain, see `measure_brain`.

    Nothing if the table cannot be read.
    """
    try:
        rows = read_tsv(path, "name")
        brain = measure_brain({int(row["id"]): float(row["mm3"]) for row in rows if row.get("id", MISSING) != MISSING})
        return {row["name"]: row["mm3"] for row in rows} | {name: f"{mm3:.1f}" for name, mm3 in brain.items()}
    except (OSError, KeyError, ValueError):  # moved or changed by hand meanwhile: the other cases keep their row
        return {}
