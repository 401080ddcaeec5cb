"""Put the scores of the folds of a tumor data set together: every case scored by weights that have not seen it.

    python tools/pool_scores.py fold0/scores.tsv fold1/scores.tsv fold2/scores.tsv --output_dir all_folds

Each table was written by evaluate.json of the bundle brats_multimodal with the same --subsets. The output folder gets
scores.tsv with all cases, and summary.tsv, whose means and standard deviations are over all of them.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from reports import run_command

from monai_mamba.errors import InputError
from monai_mamba.metrics import write_region_tables

KEYS = ("subject", "modalities", "region")


def read_scores(paths: Sequence[str]) -> tuple[list[str], list[str], tuple[str, ...], torch.Tensor]:
    """Read tables of region scores.

    Returns:
        For each of N rows the case and its modalities; the regions; and the scores `(N, R, S)`.

    Raises:
        InputError: a table cannot be read or has other columns than the first, or two hold the same case.
    """
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    columns: list[str] = []
    for path in paths:
        try:
            with Path(path).expanduser().open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file, delimiter="\t")
                scores = [name for name in reader.fieldnames or () if name not in KEYS]
                columns = columns or scores
                if scores != columns or not columns:
                    raise InputError(f"{path}: its scores are {scores}; expected {columns}, those of {paths[0]}.")
                before = set(values)
                for row in reader:
                    case = (row["subject"], row["modalities"])
                    if case in before:
                        raise InputError(f"{path}: {case[0]} was scored in another table too. A case is in one fold.")
                    values.setdefault(case, {})[row["region"]] = [float(row[name]) for name in columns]
        except InputError:
            raise
        except (OSError, UnicodeDecodeError, ValueError, KeyError) as error:
            raise InputError(
                f"{path}: no table of region scores ({error}). Expected scores.tsv of evaluate.json."
            ) from error
    regions = tuple(next(iter(values.values())))
    stacked = torch.tensor([[rows[name] for name in regions] for rows in values.values()])
    return [subject for subject, _ in values], [subset for _, subset in values], regions, stacked


def pool_scores(options: argparse.Namespace) -> None:
    """Write the tables of all folds together.

    Raises:
        InputError: see `read_scores`.
        OutputError: the output folder cannot be written to.
    """
    subjects, subsets, regions, scores = read_scores(options.scores)
    write_region_tables(options.output_dir, subjects, subsets, scores, regions)
    print(f"{len(set(subjects))} cases: {Path(options.output_dir) / 'summary.tsv'}")


def main() -> int:
    """Parse the command line and pool the scores; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", nargs="+", metavar="TSV", help="scores.tsv of each fold")
    parser.add_argument("--output_dir", required=True, help="folder for the tables of all folds")
    return run_command(pool_scores, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
