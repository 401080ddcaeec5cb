"""The report of `compare_networks.py`."""

from __future__ import annotations

import argparse
import inspect
import shlex
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from benchmarks.report import dates, machine_line, number, table
from monai.bundle import ConfigParser
from studies.study import Scores, Study
from torch.utils.flop_counter import FlopCounterMode

from monai_mamba.metrics.paired_tests import TEST_NOTES, holm, signed_rank_test

COST_COLUMNS = ("M parameters", "GFLOP", "training, s", "s per step", "training, peak GiB", "evaluation, s")
TEST_COLUMNS = ("metric", "other", "mean difference", "median difference", "effect size", "p", "p (Holm)")


def scan_flops(u: torch.Size, delta: torch.Size, A: torch.Size, *_: object, **__: object) -> int:
    """Operations of a scan: 9 an update of a state, as in the formula of VMamba (arXiv 2401.10166, its code).

    Args:
        u: not used.
        delta: ``(B, K, L, E)``.
        A: ``(K, E, N)``.
    """
    batch, directions, length, channels = delta
    return 9 * batch * directions * length * channels * A[-1]


def network_size(study: Study, name: str, window: Sequence[int]) -> tuple[int, int]:
    """Parameters of a network, those that only training uses among them, and operations of the forward of a window.

    Operations are those of convolutions, matrix products, attention and scans; a multiply-add counts as two.
    """
    definition = {**study.networks[name].definition, **study.channels}
    network = ConfigParser({"roi_size": list(window), "network": definition}).get_parsed_content("network").eval()
    formulas = {torch.ops.monai_mamba.scan_forward: scan_flops}
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    with counter, torch.inference_mode():
        network(torch.zeros(1, study.channels["in_channels"], *window))
    return sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops()


def score_cells(values: np.ndarray, digits: int) -> list[str]:
    """Mean and standard deviation over the N cases of each of the R structures, then of their mean.

    Args:
        values: `(N, R)`, NaN where there is none.
        digits: after the decimal point.
    """
    cells = []
    for structure in [*values.T, np.nanmean(values, axis=1)]:
        known = structure[~np.isnan(structure)]
        deviation = f" ± {known.std(ddof=1):.{digits}f}" if len(known) > 1 else ""
        cells.append(f"{known.mean():.{digits}f}{deviation}" if len(known) else "-")
    return cells


def test_rows(scores: Mapping[str, np.ndarray], metrics: Sequence[tuple[str, int]]) -> list[list[str]]:
    """Wilcoxon tests of each network against the first, on the means over the structures."""
    first, *others = scores
    rows, p_values = [], []
    for column, (metric, digits) in enumerate(metrics):
        for other in others:
            differences = np.round(np.nanmean((scores[first] - scores[other])[..., column], axis=1), 6)
            differences = differences[~np.isnan(differences)]
            p, effect = signed_rank_test(differences)
            p_values.append(p)
            moments = (
                f"{value:.{digits}f}" for value in np.round([differences.mean(), np.median(differences)], digits) + 0.0
            )
            rows.append([metric, other, *moments, f"{effect:.2f}"])
    return [[*row, f"{p:.3g}", f"{c:.3g}"] for row, p, c in zip(rows, p_values, holm(p_values), strict=True)]


def report(study: Study, options: argparse.Namespace, runs: Mapping[str, dict], scores: Mapping[str, Scores]) -> str:
    """The report as Markdown.

    Args:
        study: what was compared.
        options: of the command line.
        runs: result of `train_and_evaluate` of each network.
        scores: of each network, on the same cases.
    """
    steps = study.steps(options)
    made = [run["made"] for run in runs.values()]
    machines = "; ".join(dict.fromkeys(machine_line(row) for row in made))
    versions = ", ".join(dict.fromkeys(row["monai_mamba"] for row in made))
    training, test = (len(names) for names in study.cases(options).values())
    lines = [
        f"# {study.kind.capitalize()}s of {study.bundle}\n",
        f"{inspect.cleandoc(study.__doc__ or '')}\n",
        "Made by\n",
    ]
    lines.append(f"    {shlex.join(['python', *sys.argv])}\n")
    lines.append(
        f"with monai-mamba {versions} on {machines}; {dates(made)}. Training cases: {training}. Test cases: {test}. "
        f"Each {study.kind}: {steps} steps from scratch with seed {options.seed}. "
        f"{study.recipe(options)} {study.about}\n"
    )
    costs, windows = [], {}
    for name, run in runs.items():
        window = run["settings"]["training"].get("roi_size", study.window(options))
        windows.setdefault(" x ".join(map(str, window)), []).append(name)
        parameters, operations = network_size(study, name, window)
        trained, evaluated = run["train"], run["evaluate"]
        seconds = (trained["seconds"], trained["seconds"] / steps, trained["peak_GiB"], evaluated["seconds"])
        costs.append([name, number(parameters, 1e6), number(operations, 1e9), *map(number, seconds)])
    of_all = "; ".join(f"{size} ({', '.join(names)})" if len(windows) > 1 else size for size, names in windows.items())
    lines += [
        "## Cost\n",
        f"GFLOP: forward of one window, a multiply-add counted as two. Windows: {of_all}. Seconds and peak memory "
        "(without a GPU's) of whole processes, with their start: other work on the machine changes them, and unlike "
        "parameters and GFLOP they are to compare only where it did nothing else.\n",
        table((study.kind, *COST_COLUMNS), costs),
    ]
    lines += ["## Scores\n", "Mean ± standard deviation over the cases.\n"]
    for column, (metric, digits) in enumerate(study.metrics.values()):
        cells = zip(*(score_cells(found.values[..., column], digits) for found in scores.values()), strict=True)
        rows = [[name, *row] for name, row in zip((*study.structures, "mean"), cells, strict=True)]
        missing = [int(np.isnan(found.values[..., column]).sum()) for found in scores.values()]
        if any(missing):  # a network could otherwise win by what it does not find
            rows.append(["without a score, left out", *map(str, missing)])
        lines.append(table([metric, *scores], rows))
    if len(scores) > 1:
        lines += [f"## {next(iter(scores))} minus each other\n"]
        lines.append(
            f"Means over the structures, one training of each. {TEST_NOTES['p']} p (Holm): corrected over all rows. "
            f"Effect size: {TEST_NOTES['effect_size']}\n"
        )
        values = {name: found.values for name, found in scores.items()}
        lines.append(table(TEST_COLUMNS, test_rows(values, list(study.metrics.values()))))
    return "\n".join(lines)
