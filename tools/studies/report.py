"""The report of `compare_networks.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from evaluation.paired_tests import TITLES, holm, signed_rank_test
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser
from reports import dates, machine_line, made_by, moments, number, spread, table
from torch.utils.flop_counter import FlopCounterMode

from monai_mamba import bundle_root
from monai_mamba.files import table_text
from monai_mamba.metrics.region_scores import EMPTY_RULE
from monai_mamba.metrics.structure_scores import ABSENT_RULE

COST_COLUMNS = ("M parameters", "window", "GFLOP", "training, s", "s per step", "training, peak GiB", "evaluation, s")
TEST_COLUMNS = ("metric", "other", "mean_difference", "median_difference", "effect_size", "p", "p_holm")
DIGITS = {"dsc": 3, "vs": 3, "assd_mm": 2, "hd95_mm": 2}
MEAN = "mean"


def scan_flops(u: torch.Size, delta: torch.Size, A: torch.Size, *_: object, **__: object) -> int:
    """Operations of a scan: 9 an update of a state, as in the formula of VMamba (arXiv 2401.10166, its code)."""
    batch, directions, length, channels = delta
    return 9 * batch * directions * length * channels * A[-1]


def training_config(bundle: str, options: Mapping[str, object]) -> ConfigParser:
    """The `train.json` of a bundle with options in it, texts as they are read on a command line."""
    parser = ConfigParser()
    parser.read_config(f"{bundle_root(bundle)}/configs/train.json")
    for name, value in options.items():
        parser[name] = DefaultParseValue(value) if isinstance(value, str) else value
    return parser


def network_size(config: ConfigParser) -> tuple[int, int]:
    """Parameters of a network, those that only training uses among them, and operations of the forward of a window.

    Operations are those of convolutions, matrix products, attention and scans; a multiply-add counts as two.
    """
    network = config.get_parsed_content("network_def").eval()
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.monai_mamba.scan_forward: scan_flops})
    with counter, torch.inference_mode():
        network(torch.zeros(1, config["network_def#in_channels"], *config["roi_size"]))
    return sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops()


def score_rows(scores: Mapping[str, np.ndarray], metrics: Sequence[str], structures: Sequence[str]) -> list[list[str]]:
    """Metric, network, structure, mean and standard deviation over the N cases; the mean over structures comes last.

    The scores of each network are `(N, R, M)`, of M metrics of R structures, NaN where there is none.
    """
    rows = []
    for column, metric in enumerate(metrics):
        for name, found in scores.items():
            values = np.column_stack([found[..., column], np.nanmean(found[..., column], axis=1)])
            for structure, of_cases in zip((*structures, MEAN), values.T, strict=True):
                rows.append([TITLES[metric], name, structure, *moments(of_cases, DIGITS[metric])])
    return rows


def test_rows(scores: Mapping[str, np.ndarray], metrics: Sequence[str]) -> list[list[str]]:
    """Wilcoxon tests of each network against the first, on the means over the structures; columns `TEST_COLUMNS`."""
    first, *others = scores
    rows, p_values = [], []
    for column, metric in enumerate(metrics):
        for other in others:
            differences = np.round(np.nanmean((scores[first] - scores[other])[..., column], axis=1), 6)
            differences = differences[~np.isnan(differences)]
            p, effect = signed_rank_test(differences)
            p_values.append(p)
            centers = np.round([differences.mean(), np.median(differences)], DIGITS[metric]) + 0.0
            texts = [f"{value:.{DIGITS[metric]}f}" for value in centers]
            rows.append([TITLES[metric], other, *texts, f"{effect:.2f}"])
    return [[*row, f"{p:.3g}", f"{c:.3g}"] for row, p, c in zip(rows, p_values, holm(p_values), strict=True)]


def report(
    study: Mapping[str, object],
    runs: Mapping[str, dict],
    scores: Mapping[str, np.ndarray],
    metrics: Sequence[str],
    structures: Sequence[str],
) -> dict[str, str]:
    """The files of the report: `report.md`, `scores.tsv` and `tests.tsv`.

    `runs` are the results of `train_and_evaluate` of each network, and `scores` `(N, R, M)`, on the same N cases.
    """
    tests = test_rows(scores, metrics)
    costs = []
    for name, run in runs.items():
        config = training_config(study["bundle"], run["settings"]["training"])
        parameters, operations = network_size(config)
        steps = config["epochs"] * config["iterations_per_epoch"]
        trained, evaluated, window = run["train"], run["evaluate"], "x".join(map(str, config["roi_size"]))
        seconds = (trained["seconds"], trained["seconds"] / steps)
        figures = map(number, (*seconds, trained["peak_GiB"], evaluated["seconds"]))
        costs.append([name, number(parameters, 1e6), window, number(operations, 1e9), *figures])
    made = [run["made"] for run in runs.values()]
    versions, machines = dict.fromkeys(row["monai_mamba"] for row in made), dict.fromkeys(map(machine_line, made))
    about = (
        f"{', '.join(versions)} on {'; '.join(machines)}; {dates(made)}. {len(next(iter(scores.values())))} test "
        f"cases. Each network was trained from scratch for {steps} steps with seed {config['seed']}. "
        f"{ABSENT_RULE if 'assd_mm' in metrics else EMPTY_RULE}"
    )
    parts = [
        f"# Networks of {study['bundle']}\n",
        f"{study['about']}\n",
        made_by(about),
        summary(scores, metrics, tests),
        "## Cost\n",
        "GFLOP: one forward pass of a window; a multiply-add counts as two. Seconds and peak memory (without a GPU's): "
        "whole processes, on a machine that may do other work.\n",
        table(("network", *COST_COLUMNS), costs),
    ]
    columns = ("metric", "network", "structure", "mean", "sd")
    return {
        "report.md": "\n".join(parts),
        "scores.tsv": table_text(columns, score_rows(scores, metrics, structures)),
        "tests.tsv": table_text(TEST_COLUMNS, tests),
    }


def summary(scores: Mapping[str, np.ndarray], metrics: Sequence[str], tests: Sequence[Sequence[str]]) -> str:
    """Table of the means over the structures, with the tests of the first metric, and what it means."""
    missing = {name: int(np.isnan(values).any(axis=2).sum()) for name, values in scores.items()}
    titles = [TITLES[metric] for metric in metrics]
    differences = {row[1]: (row[2], row[-1]) for row in tests if row[0] == titles[0]}
    rows = []
    for name, values in scores.items():
        means = np.nanmean(values, axis=1)  # over the structures
        cells = [spread(means[:, column], DIGITS[metric]) for column, metric in enumerate(metrics)]
        # What a network does not find has no distance: without this column it could win by finding little.
        counts = [missing[name]] if any(missing.values()) else []
        rows.append([name, *cells, *counts, *differences.get(name, ("-", "-"))])
    columns = ["network", *titles, *["without a score"] * any(missing.values())]
    return "\n".join(
        [
            "## Scores\n",
            table([*columns, f"{titles[0]}: first minus this", "p (Holm)"], rows),
            "Mean ± standard deviation over the cases, of the means over the structures; one training of each. p: "
            "two-sided Wilcoxon signed-rank tests against the first line, corrected over all tests (Holm); with fewer "
            "than 6 cases that differ, it cannot fall below 0.05. `scores.tsv` has every structure, `tests.tsv` every "
            "metric, with the rank-biserial correlation as effect size.\n",
        ]
    )
