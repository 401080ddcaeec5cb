"""The report of `compare_networks.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from evaluation.paired_tests import TEST_NOTES, holm, signed_rank_test
from monai.bundle import ConfigParser
from reports import dates, machine_line, made_by, moments, number, spread, table
from torch.utils.flop_counter import FlopCounterMode

from monai_mamba.files import table_text

from .study import Plan, Study

COST_COLUMNS = ("M parameters", "window", "GFLOP", "training, s", "s per step", "training, peak GiB", "evaluation, s")
TEST_COLUMNS = ("metric", "other", "mean_difference", "median_difference", "effect_size", "p", "p_holm")
MEAN = "mean"


def scan_flops(u: torch.Size, delta: torch.Size, A: torch.Size, *_: object, **__: object) -> int:
    """Operations of a scan: 9 an update of a state, as in the formula of VMamba (arXiv 2401.10166, its code)."""
    batch, directions, length, channels = delta
    return 9 * batch * directions * length * channels * A[-1]


def network_size(study: Study, name: str, window: Sequence[int]) -> tuple[int, int]:
    """Parameters of a network, those that only training uses among them, and operations of the forward of a window.

    Operations are those of convolutions, matrix products, attention and scans; a multiply-add counts as two.
    """
    network = (
        ConfigParser({"roi_size": list(window), "network": study.definition(name)}).get_parsed_content("network").eval()
    )
    formulas = {torch.ops.monai_mamba.scan_forward: scan_flops}
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    with counter, torch.inference_mode():
        network(torch.zeros(1, study.channels["in_channels"], *window))
    return sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops()


def score_rows(
    scores: Mapping[str, np.ndarray], metrics: Sequence[tuple[str, int]], structures: Sequence[str]
) -> list[list[str]]:
    """Metric, network, structure, mean and standard deviation over the N cases; the mean over structures comes last.

    The scores of each network are `(N, R, M)`, of M metrics of R structures, NaN where there is none.
    """
    rows = []
    for column, (metric, digits) in enumerate(metrics):
        for name, found in scores.items():
            values = np.column_stack([found[..., column], np.nanmean(found[..., column], axis=1)])
            for structure, of_cases in zip((*structures, MEAN), values.T, strict=True):
                rows.append([metric, name, structure, *moments(of_cases, digits)])
    return rows


def test_rows(scores: Mapping[str, np.ndarray], metrics: Sequence[tuple[str, int]]) -> list[list[str]]:
    """Wilcoxon tests of each network against the first, on the means over the structures; columns `TEST_COLUMNS`."""
    first, *others = scores
    rows, p_values = [], []
    for column, (metric, digits) in enumerate(metrics):
        for other in others:
            differences = np.round(np.nanmean((scores[first] - scores[other])[..., column], axis=1), 6)
            differences = differences[~np.isnan(differences)]
            p, effect = signed_rank_test(differences)
            p_values.append(p)
            centers = np.round([differences.mean(), np.median(differences)], digits) + 0.0
            rows.append([metric, other, *(f"{value:.{digits}f}" for value in centers), f"{effect:.2f}"])
    return [[*row, f"{p:.3g}", f"{c:.3g}"] for row, p, c in zip(rows, p_values, holm(p_values), strict=True)]


def report(
    study: Study, plan: Plan, seed: int, runs: Mapping[str, dict], scores: Mapping[str, np.ndarray]
) -> dict[str, str]:
    """The files of the report: `report.md`, `scores.tsv` and `tests.tsv`.

    `runs` are the results of `train_and_evaluate` of each network, and `scores` `(N, R, M)`, on the same N cases.
    """
    metrics = list(study.metrics.values())
    tests = test_rows(scores, metrics)
    costs = []
    for name, run in runs.items():
        window = run["settings"]["training"].get("roi_size", plan.window)
        parameters, operations = network_size(study, name, window)
        trained, evaluated = run["train"], run["evaluate"]
        seconds = (trained["seconds"], trained["seconds"] / plan.steps)
        figures = map(number, (*seconds, trained["peak_GiB"], evaluated["seconds"]))
        costs.append([name, number(parameters, 1e6), "x".join(map(str, window)), number(operations, 1e9), *figures])
    made = [run["made"] for run in runs.values()]
    training, test = (len(names) for names in plan.cases.values())
    versions, machines = dict.fromkeys(row["monai_mamba"] for row in made), dict.fromkeys(map(machine_line, made))
    about = (
        f"{', '.join(versions)} on {'; '.join(machines)}; {dates(made)}. {training} training cases, {test} test cases. "
        f"Each network was trained from scratch for {plan.steps} steps with seed {seed}. "
        f"{plan.recipe} {study.note}"
    )
    parts = [
        f"# Networks of {study.bundle}\n",
        f"{study.about}\n",
        made_by(about),
        summary(scores, metrics, tests),
        "## Cost\n",
        "GFLOP: one forward pass of a window; a multiply-add counts as two. Seconds and peak memory (without a GPU's) "
        "are those of whole processes; other work on the machine changes them.\n",
        table(("network", *COST_COLUMNS), costs),
    ]
    return {
        "report.md": "\n".join(parts),
        "scores.tsv": table_text(
            ("metric", "network", "structure", "mean", "sd"), score_rows(scores, metrics, study.structures)
        ),
        "tests.tsv": table_text(TEST_COLUMNS, tests),
    }


def summary(
    scores: Mapping[str, np.ndarray], metrics: Sequence[tuple[str, int]], tests: Sequence[Sequence[str]]
) -> str:
    """Table of the means over the structures, with the tests of the first metric, and what it means."""
    missing = {name: int(np.isnan(values).any(axis=2).sum()) for name, values in scores.items()}
    first = metrics[0][0]
    differences = {row[1]: (row[2], row[-1]) for row in tests if row[0] == first}
    rows = []
    for name, values in scores.items():
        means = np.nanmean(values, axis=1)  # over the structures
        cells = [spread(means[:, column], digits) for column, (_, digits) in enumerate(metrics)]
        # What a network does not find has no distance: without this column it could win by finding little.
        counts = [missing[name]] if any(missing.values()) else []
        rows.append([name, *cells, *counts, *differences.get(name, ("-", "-"))])
    columns = ["network", *(metric for metric, _ in metrics), *["without a score"] * any(missing.values())]
    return "\n".join(
        [
            "## Scores\n",
            table([*columns, f"{first}: first minus this", "p (Holm)"], rows),
            "Mean ± standard deviation over the cases, of the means over the structures; one training of each. "
            "`scores.tsv` has every structure. `tests.tsv` has the tests of all metrics against the first line: "
            f"{TEST_NOTES['p']} p (Holm): corrected over all tests. Effect size: {TEST_NOTES['effect_size']}\n",
        ]
    )
