"""What the reports of the tools share: how they are run, Markdown tables, and files that appear complete."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from monai_mamba.errors import MonaiMambaError, OutputError
from monai_mamba.files import write_atomically
from monai_mamba.metrics.structure_scores import ABSENT_RULE


def run_command(run: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """Call `run` with the options of a command; an error that has a reason to tell is told in a sentence.

    Returns:
        Exit status of the command.
    """
    try:
        run(options)
    except MonaiMambaError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def make_report(make: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """`run_command` for a report: `output_dir`, one of the options, is where `make` writes it.

    Returns:
        Exit status of the command.
    """
    status = run_command(make, options)
    if status == 0:
        print(f"Wrote {Path(options.output_dir) / 'report.md'}. {ABSENT_RULE}")
    return status


def score_lines(columns: Sequence[str], rows: Sequence[Sequence]) -> list[str]:
    """Lines of a Markdown table, with the rule that belongs to every table of scores."""
    cells = [columns, ["---"] * len(columns), *rows]
    lines = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells]
    return ["", *lines, "", ABSENT_RULE]


def write_report_files(folder: Path, files: Mapping[str, str | Callable[[Path], object]]) -> None:
    """Write the files of a report in their order; each appears only complete.

    Args:
        folder: made if it does not exist.
        files: for each name the text, or a function that writes the file of a given path.

    Raises:
        OutputError: the folder cannot be written to.
    """
    try:
        for name, content in files.items():
            write = content if callable(content) else lambda file, text=content: file.write_text(text, encoding="utf-8")
            write_atomically(folder / name, write)
    except OSError as error:
        raise OutputError(
            f"{folder}: the report cannot be written ({error}). Set --output_dir to another folder."
        ) from error
