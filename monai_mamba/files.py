"""Files that are read and written whole, and all files below a folder."""

from __future__ import annotations

import csv
import errno
import io
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from monai_mamba.errors import InputError

logger = logging.getLogger(__name__)

MISSING = "n/a"  # a cell without a value, as in the tables of BIDS


def user_path(text: str | Path) -> Path:
    """The path that a user has named; `~` is the home folder.

    Raises:
        InputError: the system does not let it be looked at.
    """
    path = Path(str(text))  # on the command line, a name in digits is a number
    with suppress(RuntimeError):  # nobody has the name after ~, so it is that of a file
        path = path.expanduser()
    try:
        path.stat()
    except OSError as error:
        if error.errno in (errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG):
            raise InputError(f"{path}: {error.strerror}. Check the path, and that you may read it.") from error
    return path


def files_below(folder: str | Path) -> list[Path]:
    """List the files of a folder and its subfolders by path, and warn of folders that cannot be read.

    Links to folders are followed, each folder once.
    """
    files: list[Path] = []
    seen: set[str] = set()
    for root, subfolders, names in os.walk(folder, onerror=_warn_of_folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:  # a link back to a folder above would never end
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()  # else the file system decides which of two links to a folder is followed
        files += [Path(root, name) for name in names]
    return sorted(files)


def _warn_of_folder(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        logger.warning("%s: the folder cannot be read (%s); what is in it is left out.", error.filename, error.strerror)


def read_whole(path: str | Path) -> bytes:
    """Read all of a file, as it was at one moment.

    Raises:
        InputError: the file cannot be read, or changed while it was read.
    """
    try:
        with Path(path).open("rb") as file:
            before = os.fstat(file.fileno())
            content = file.read()
            after = os.fstat(file.fileno())
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error.strerror or error}).") from error
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size) or len(content) != after.st_size:
        raise InputError(
            f"{path}: the file changed while it was read. Wait until nothing writes to it any more, and run again."
        )
    return content


def read_json(path: str | Path) -> dict[str, Any]:
    """Content of a JSON file; empty where it is missing, damaged or no mapping."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_tsv(path: str | Path, key: str | None = None) -> list[dict[str, str]]:
    """Rows of a table that a user has named, with tabs between its cells, by the names of its columns.

    Excel begins it with a mark (BOM).

    Raises:
        InputError: see `user_path`.
        ValueError: two rows have the same text in the column `key`.
    """
    with user_path(path).open(encoding="utf-8-sig", newline="") as file:
        return parse_tsv(file, key)


def parse_tsv(lines: Iterable[str], key: str | None = None) -> list[dict[str, str]]:
    """Rows of a table that is read already, see `read_tsv`."""
    rows = list(csv.DictReader(lines, delimiter="\t"))
    names = Counter(row[key] for row in rows if row.get(key) is not None)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"{twice[0]} has {names[twice[0]]} rows, expected one")
    return rows


def table_text(columns: Sequence[str], rows: Iterable[Sequence], delimiter: str = "\t") -> str:
    """A table as text, one line per row after the line of the columns; `delimiter` as in `csv.writer`."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path` and give it its name when it is complete and on disk.

    Args:
        path: the file, `~` is the home folder; its folder is made where it is missing.
        write: called with the path of the temporary file, which has the same ending.
    """
    final = user_path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    # The ending stays, because writers choose the format by it; the leading dot hides what a kill leaves behind.
    # Random, because machines that share a folder may have processes of the same number.
    temporary = final.with_name(f".{uuid4().hex[:12]}.tmp.{final.name}")
    try:
        write(temporary)
        with temporary.open("rb+") as file:  # Windows syncs only files that are open for writing
            os.fsync(file.fileno())
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text as UTF-8, complete or not at all; names of files that are not UTF-8 keep their bytes."""
    write_atomically(
        path, partial(Path.write_text, data=text, encoding="utf-8", errors="surrogateescape", newline="\n")
    )
