"""The report of `compare_networks.py`."""

from __future__ import annotations

import argparse
import inspect
import shlex
import sys
from collections.abc import Mapping, Sequence

import monai
import numpy as np
import torch
from benchmarks.machine import describe
from benchmarks.report import machine_line, number, table
from monai.networks import nets
from studies.study import Study
from torch.utils.flop_counter import FlopCounterMode

import monai_mamba
from monai_mamba.metrics.paired_tests import TEST_NOTES, holm, signed_rank_test

COST_COLUMNS = ("network", "M parameters", "GFLOP", "training, s", "s per step", "training, peak GiB", "evaluation, s")
TEST_COLUMNS = ("metric", "other", "mean difference", "median difference", "effect size", "p", "p (Holm)")


def scan_flops(u: torch.Size, delta: torch.Size, A: torch.Size, *_: object, **__: object) -> int:
    """Operations of a scan: 9 an update of a state, as is usual in publications."""
    batch, directions, length, channels = delta
    return 9 * batch * directions * length * channels * A[-1]


def network_size(study: Study, name: str, window: Sequence[int]) -> tuple[int, int]:
    """Parameters of a network, those that only training uses among them, and operations of the forward of a window.

    Operations are those of convolutions, matrix products, attention and scans; a multiply-add counts as two.
    """
    arguments = {**study.networks[name].definition, **study.channels}
    target = str(arguments.pop("_target_"))
    network = getattr(monai_mamba if hasattr(monai_mamba, target) else nets, target)(**arguments).eval()
    formulas = {torch.ops.monai_mamba.scan_forward: scan_flops}
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    with counter, torch.inference_mode():
        network(torch.zeros(1, study.channels["in_channels"], *window))
    return sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops()


def score_cells(values: np.ndarray, digits: Sequence[int]) -> list[str]:
    """Mean and standard deviation over the cases: for each metric those of all structures, then of their mean.

    Args:
        values: `(N, R, M)`.
        digits: of each of the M metrics.
    """
    everything = np.concatenate([values, np.nanmean(values, axis=1, keepdims=True)], axis=1)
    cells = []
    for column, places in enumerate(digits):
        for structure in everything[..., column].T:
            known = structure[~np.isnan(structure)]
            deviation = f" ± {known.std(ddof=1):.{places}f}" if len(known) > 1 else ""
            cells.append(f"{known.mean():.{places}f}{deviation}" if len(known) else "-")
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
            moments = (f"{value:.{digits}f}" for value in (differences.mean(), np.median(differences)))
            rows.append([metric, other, *moments, f"{effect:.2f}"])
    return [[*row, f"{p:.3g}", f"{c:.3g}"] for row, p, c in zip(rows, p_values, holm(p_values), strict=True)]


def report(
    study: Study, options: argparse.Namespace, runs: Mapping[str, dict], scores: Mapping[str, np.ndarray]
) -> str:
    """The report as Markdown.

    Args:
        study: what was compared.
        options: of the command line.
        runs: settings, seconds and memory of each network.
        scores: `(N, R, M)` of each network on the same N cases.
    """
    steps = study.steps(options)
    machine = machine_line(row := describe(torch.device(options.device), options.threads))
    lines = [f"# Networks of {study.bundle}\n", f"{inspect.cleandoc(study.__doc__ or '')}\n", "Made by\n"]
    lines.append(f"    {shlex.join(['python', *sys.argv])}\n")
    lines.append(
        f"with monai-mamba {monai_mamba.__version__} and MONAI {monai.__version__} on {machine}; {row['date']}. "
        f"{study.data(options)} Each network: {steps} steps from scratch with seed {options.seed}, the same "
        f"augmentation, optimizer and schedule, nothing tuned for any of them. {study.about}\n"
    )
    costs, sizes = [], {}
    for name, run in runs.items():
        training, evaluation = run["train"], run["evaluate"]
        window = run["settings"]["training"].get("roi_size", study.window(options))
        parameters, operations = network_size(study, name, window)
        sizes[name] = window
        seconds = (training["seconds"], training["seconds"] / steps, training["peak_GiB"], evaluation["seconds"])
        costs.append([name, number(parameters, 1e6), number(operations, 1e9), *map(number, seconds)])
    windows = "; ".join(
        f"{' x '.join(map(str, size))} ({', '.join(name for name in sizes if sizes[name] == size)})"
        for size in map(list, dict.fromkeys(map(tuple, sizes.values())))
    )
    lines += [
        "## Cost\n",
        f"GFLOP: forward of one window, a multiply-add counted as two. Windows: {windows}. Seconds and peak memory "
        "(without a GPU's) of whole processes, with their start; other work on the machine changes them.\n",
        table(COST_COLUMNS, costs),
    ]
    digits = [places for _, places in study.metrics.values()]
    names = [f"{metric} {name}" for metric, _ in study.metrics.values() for name in (*study.structures, "mean")]
    lines += ["## Scores\n", "Mean ± standard deviation over the cases.\n"]
    lines.append(table(["network", *names], [[name, *score_cells(found, digits)] for name, found in scores.items()]))
    if len(scores) > 1:
        lines += [f"## {next(iter(scores))} minus each other\n", f"Means over the structures. {TEST_NOTES['p']}\n"]
        lines.append(table(TEST_COLUMNS, test_rows(scores, list(study.metrics.values()))))
    return "\n".join(lines)
