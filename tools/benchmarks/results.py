"""Results of benchmarks as JSON lines, and the files made from them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from reports import Row


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that all benchmarks have."""
    devices = [torch.device("cpu"), torch.device("cuda")]
    parser.add_argument("--device", type=torch.device, choices=devices, default=devices[0], metavar="cpu|cuda")
    text = "write JSON lines and a Markdown table there; rows of earlier runs stay unless measured again"
    parser.add_argument("--output_dir", type=Path, help=text)


def write(
    name: str, rows: list[Row], key: Sequence[str], folder: Path | None, markdown: Callable[[list[Row]], str]
) -> None:
    """Print rows, and bring the files of a benchmark up to date: `name`.jsonl and, made by `markdown`, `name`.md.

    A new row takes the place of an old one with the same values in the fields `key`. Without a folder it only prints.
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


def groups(rows: Iterable[Row], *key: str) -> dict[tuple[object, ...], list[Row]]:
    """Rows by the values of some fields, in the order they come."""
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row.get(field) for field in key), []).append(row)
    return found
