"""What the reports of the tools share: Markdown tables, and files that appear together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from monai_mamba.data.files import write_whole
from monai_mamba.errors import OutputError
from monai_mamba.metrics.structure_scores import ABSENT_RULE


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
            write_whole(folder / name, write)
    except OSError as error:
        raise OutputError(
            f"{folder}: the report cannot be written ({error}). Set --output_dir to another folder."
        ) from error
