"""What the commands share: their exit status, tables and figures in Markdown, and files that appear complete."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np

from monai_mamba.errors import MonaiMambaError, show_errors_briefly, writing
from monai_mamba.files import MISSING, write_atomically, write_text

Row = Mapping[str, object]  # a result: what `describe` in benchmarks.machine says, and figures


def run_command(run: Callable[[argparse.Namespace], int | None], options: argparse.Namespace) -> int:
    """Call `run` with the options of a command; return its exit status, or 1 after one sentence if it failed."""
    show_errors_briefly()
    try:
        return run(options) or 0
    except MonaiMambaError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def write_files(folder: Path, files: Mapping[str, str | Callable[[Path], object]]) -> None:
    """Write the files of a report in their order; each, a text or what writes it to a path, appears only complete."""
    with writing(f"{folder}: the results"):
        for name, content in files.items():
            write = write_atomically if callable(content) else write_text
            write(folder / name, content)


def save_image(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    """Write a volume, or several along a fourth axis, as NIfTI; the file appears only complete."""
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    with writing(str(path)):
        write_atomically(path, partial(nib.save, image))


def made_by(version: str) -> str:
    """How a report was made: by this command, with `version` of the package, which may go on with more to say."""
    return f"Made by\n\n    {shlex.join(['python', *sys.argv])}\n\nwith monai-mamba {version}\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column left, the others right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |\n" for cells in lines)


def number(value: object, unit: float = 1) -> str:
    """A figure with three significant digits, in a unit; a dash if there is none."""
    if not isinstance(value, (int, float)):
        return "-"
    value = value / unit
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percent(value: object) -> str:
    """A share in percent; a dash if there is none."""
    return f"{100 * value:.0f} %" if isinstance(value, (int, float)) else "-"


def moments(values: np.ndarray, digits: int = 3) -> tuple[str, str]:
    """Mean and standard deviation (n - 1) of the values that are not NaN, or `MISSING`."""
    known = values[~np.isnan(values)]
    mean = f"{known.mean():.{digits}f}" if len(known) else MISSING
    return mean, f"{known.std(ddof=1):.{digits}f}" if len(known) > 1 else MISSING


def spread(values: np.ndarray, digits: int = 3) -> str:
    """`moments` as one cell of a table."""
    mean, deviation = moments(values, digits)
    return mean if deviation == MISSING else f"{mean} ± {deviation}"


def machine_line(row: Row) -> str:
    """What machine a figure belongs to."""
    place = row.get("gpu") or f"{row['threads']} thread{'s' if row['threads'] != 1 else ''} of {row['cpu']}"
    return f"{place}, PyTorch {row['torch']}"


def dates(rows: Iterable[Row]) -> str:
    """First and last date of results."""
    found = sorted({str(row["date"]) for row in rows})
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"
