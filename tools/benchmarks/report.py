"""Results as JSON lines, and the tables and plots made from them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

Row = dict[str, object]


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that all benchmarks have."""
    devices = [torch.device("cpu"), torch.device("cuda")]
    parser.add_argument("--device", type=torch.device, choices=devices, default=devices[0], metavar="cpu|cuda")
    text = "write JSON lines, Markdown table and plot there; rows of earlier runs stay unless measured again"
    parser.add_argument("--output_dir", type=Path, help=text)


def write(
    name: str,
    rows: list[Row],
    key: Sequence[str],
    folder: Path | None,
    markdown: Callable[[list[Row]], str],
    plot: Callable[[list[Row], Path], None] | None = None,
) -> None:
    """Print rows, and bring the files of a benchmark up to date.

    Args:
        name: of the files: name.jsonl, name.md and name.png.
        rows: new results.
        key: fields that tell rows apart; a new row takes the place of an old one with the same.
        folder: where the files are; None only prints.
        markdown: makes the document of all rows.
        plot: makes the picture of all rows.
    """
    for row in rows:
        print(json.dumps(row), flush=True)
    if folder is None or not rows:
        return
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    known = {tuple(row.get(field) for field in key): row for row in [*map(json.loads, lines), *rows]}
    everything = list(known.values())
    file.write_text("".join(f"{json.dumps(row)}\n" for row in everything), encoding="utf-8")
    (folder / f"{name}.md").write_text(markdown(everything), encoding="utf-8")
    if plot is not None:
        plot(everything, folder / f"{name}.png")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column left, the others right."""
    lines = [headers, ["---", *["---:"] * (len(headers) - 1)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def number(value: object, unit: float = 1) -> str:
    """A figure with three significant digits, in a unit; a dash if there is none."""
    if not isinstance(value, (int, float)):
        return "-"
    value = value / unit
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percent(value: object) -> str:
    """A share in percent."""
    return f"{100 * value:.0f} %" if isinstance(value, (int, float)) else "-"


def machine_line(row: Row) -> str:
    """One line on what a figure belongs to."""
    threads = f"{row['threads']} thread{'s' if row['threads'] != 1 else ''} of "
    place = row.get("gpu") or f"{threads}{row['cpu']}"
    return f"{place}, PyTorch {row['torch']}"


def dates(rows: Iterable[Row]) -> str:
    """First and last date of results."""
    found = sorted({str(row["date"]) for row in rows})
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"


def groups(rows: Iterable[Row], *key: str) -> dict[tuple[object, ...], list[Row]]:
    """Rows by the values of some fields, in the order they come."""
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row.get(field) for field in key), []).append(row)
    return found
