"""Put the scores of the folds of a tumor data set together: every case scored by weights that have not seen it.

    python tools/pool_scores.py fold0/scores.tsv fold1/scores.tsv fold2/scores.tsv --output_dir all_folds

Each table was written by evaluate.json of the bundle brats_multimodal with the same --subsets. The output folder gets
scores.tsv with all cases, and summary.tsv, whose means and standard deviations are over all of them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from evaluation.label_sets import read_scores
from reports import run_command

from monai_mamba.errors import InputError
from monai_mamba.metrics import write_region_tables


def pool_scores(options: argparse.Namespace) -> None:
    """Write the tables of all folds together."""
    values: dict[tuple[str, str], dict[str, list[float]]] = {}  # of a case and its modalities, by region
    columns: list[str] = []
    for path in options.scores:
        try:
            scores, found = read_scores(Path(path).expanduser())
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: no table of region scores ({error}). Expected scores.tsv of evaluate.json."
            ) from error
        columns = columns or scores
        if scores != columns:
            raise InputError(f"{path}: its scores are {scores}; expected {columns}, those of {options.scores[0]}.")
        if twice := sorted(set(values) & set(found)):
            raise InputError(f"{path}: {twice[0][0]} was scored in another table too. A case is in one fold.")
        values |= found
        regions = tuple(next(iter(values.values())))
        if other := [list(rows) for rows in found.values() if set(rows) != set(regions)]:
            raise InputError(
                f"{path}: it has a case with the regions {other[0]}; expected {list(regions)}, as in others."
            )
        for case, rows in found.items():
            if not np.isfinite(list(rows.values())).all():
                raise InputError(f"{path}: {', '.join(case)} has no score (NaN). Expected scores.tsv of evaluate.json.")
    stacked = torch.tensor([[rows[name] for name in regions] for rows in values.values()])
    subjects, subsets = map(list, zip(*values, strict=True))
    write_region_tables(options.output_dir, subjects, subsets, stacked, regions)
    print(f"{len(set(subjects))} cases: {Path(options.output_dir) / 'summary.tsv'}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", nargs="+", metavar="TSV", help="scores.tsv of each fold")
    parser.add_argument("--output_dir", required=True, help="folder for the tables of all folds")
    return run_command(pool_scores, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
