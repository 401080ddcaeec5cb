"""Train tumor networks and their twins on the same cases with the same budget and seed, and compare them on others.

    python tools/make_tumor_cases.py --label_maps maps/*_0*.nii.gz --cases 48 --spacing 2 --output_dir training
    python tools/make_tumor_cases.py --label_maps maps/*_1*.nii.gz --cases 24 --spacing 2 --seed 1 --output_dir test
    python tools/compare_tumor_networks.py --training training --test test --spacing 2 --output_dir comparison

Each network is trained by the bundle's train.json from scratch on all training cases, with the settings of this file,
and its last weights are evaluated by evaluate.json on complete test cases; both run in a process of their own, whose
time and peak memory are reported. Twins lack one part: Mamba, the Kolmogorov-Arnold mixing (a multilayer perceptron
takes its place), or self-distillation (supervision at every scale stays). A network whose folder holds the result of
the same command is not trained again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import monai
import numpy as np
import torch
from benchmarks.machine import describe, run_measured
from benchmarks.report import machine_line, number, table
from report_files import write_report_files

import monai_mamba
from monai_mamba.data.cases import find_labeled_cases
from monai_mamba.data.preflight import check_device, check_output_dir
from monai_mamba.data.regions import RegionTable
from monai_mamba.data.sequences import SEQUENCES
from monai_mamba.errors import InputError, MonaiMambaError
from monai_mamba.metrics.paired_tests import TEST_NOTES, holm, signed_rank_test
from monai_mamba.metrics.region_scores import EMPTY_RULE, REGION_SCORES

CONFIGS = monai_mamba.bundle_root("brats_multimodal") + "/configs"
NETWORKS: dict[str, tuple[dict[str, object], dict[str, object]]] = {  # the network, and other options of the training
    "msd_kmamba_small": ({"_target_": "msd_kmamba_small"}, {}),
    "msd_kmamba_small-no_mamba": ({"_target_": "msd_kmamba_small", "mixer": None}, {}),
    "msd_kmamba_small-no_kan": ({"_target_": "msd_kmamba_small", "kan": None}, {}),
    "msd_kmamba_small-no_distillation": (
        {"_target_": "msd_kmamba_small"},
        {"distillation_weight": 0.0, "feature_weight": 0.0},
    ),
    "segmaformer": ({"_target_": "SegMaFormer"}, {}),
    "segmaformer-no_mamba": ({"_target_": "SegMaFormer", "mixer": None}, {}),
    "segmamba_small": ({"_target_": "segmamba_small"}, {}),
    "segmamba_small-no_mamba": ({"_target_": "segmamba_small", "mixer": None}, {}),
}
CHANNELS = {"in_channels": len(SEQUENCES), "out_channels": 3}
REGIONS = RegionTable.load("brats2023").names


def run_bundle(configs: list[str], options: Mapping[str, object], threads: int) -> dict[str, float]:
    """Run configs of the bundle in a process of their own; return its wall seconds and peak memory in GiB."""
    files = [f"{CONFIGS}/{name}" for name in configs]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files)]
    command += [text for name, value in options.items() for text in (f"--{name}", str(value))]
    seconds, peak = run_measured(command, threads)
    return {"seconds": seconds, "peak_GiB": peak}


def train_and_evaluate(name: str, options: argparse.Namespace) -> dict[str, dict]:
    """Train one network and evaluate it, unless its folder holds the result of the same settings.

    Returns:
        The settings of both runs, and their seconds and memory.
    """
    network, more = NETWORKS[name]
    folder = Path(options.output_dir).expanduser() / name
    common = {
        "network_def#network": {**network, **CHANNELS},
        "roi_size": [options.window] * 3,
        "train#image_transforms#2#pixdim": [options.spacing] * 3,
        "device": options.device,
        "num_workers": options.num_workers,
        "seed": options.seed,
    }
    training = {
        **common,
        **more,
        "dataset_dir": options.training,
        "output_dir": str(folder),
        "split": "$(@cases, @cases[:1])",  # nothing is selected on: one case, once, after the last epoch
        "epochs": options.epochs,
        "val_interval": options.epochs,
        "cache_rate": options.cache_rate,
        "resume": False,
    }
    evaluation = {
        **common,
        "dataset_dir": options.test,
        "output_dir": str(folder),
        "weights": str(folder / "model.pt"),
        "subsets": [list(SEQUENCES)],
    }
    settings = {"training": training, "evaluation": evaluation}
    result_file = folder / "run.json"
    if result_file.is_file():
        result = json.loads(result_file.read_text(encoding="utf-8"))
        if result["settings"] == settings:
            return result
    result = {"settings": settings, "train": run_bundle(["train.json"], training, options.threads)}
    result["evaluate"] = run_bundle(["train.json", "evaluate.json"], evaluation, options.threads)
    write_report_files(folder, {"run.json": json.dumps(result, indent=1) + "\n"})
    return result


def read_scores(path: Path) -> tuple[list[str], np.ndarray]:
    """Names of the N cases, sorted, and their scores `(N, R, 2)`: DSC and HD95 of each region."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = {(row["subject"], row["region"]): row for row in csv.DictReader(file, delimiter="\t")}
    subjects = sorted({subject for subject, _ in rows})
    values = [[[float(rows[name, region][key]) for key in REGION_SCORES] for region in REGIONS] for name in subjects]
    return subjects, np.array(values)


def count_parameters(name: str) -> int:
    """Parameters of a network, those that only training uses among them."""
    arguments = {**NETWORKS[name][0], **CHANNELS}
    network = getattr(monai_mamba, str(arguments.pop("_target_")))(**arguments)
    return sum(parameter.numel() for parameter in network.parameters())


def score_cells(scores: np.ndarray) -> list[str]:
    """Mean and standard deviation (of several cases) of DSC and HD95 of each region and their mean; `(N, R, 2)`."""
    values = np.concatenate([scores, scores.mean(axis=1, keepdims=True)], axis=1)
    cells = []
    for column, digits in enumerate((3, 1)):
        for region in values[..., column].T:
            deviation = f" ± {region.std(ddof=1):.{digits}f}" if len(region) > 1 else ""
            cells.append(f"{region.mean():.{digits}f}{deviation}")
    return cells


def test_rows(scores: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Wilcoxon tests of each network against the first, on the means over the regions."""
    first, *others = scores
    rows, p_values = [], []
    for column, metric in enumerate(("DSC", "HD95 (mm)")):
        for other in others:
            differences = np.round((scores[first] - scores[other])[..., column].mean(axis=1), 6)
            p, effect = signed_rank_test(differences)
            p_values.append(p)
            rows.append([metric, other, f"{differences.mean():.3f}", f"{np.median(differences):.3f}", f"{effect:.2f}"])
    return [[*row, f"{p:.3g}", f"{c:.3g}"] for row, p, c in zip(rows, p_values, holm(p_values), strict=True)]


def report(options: argparse.Namespace, runs: Mapping[str, dict], scores: Mapping[str, np.ndarray]) -> str:
    """The report as Markdown."""
    cases = {name: len(find_labeled_cases(getattr(options, name), "brats2023")) for name in ("training", "test")}
    steps = cases["training"] * options.epochs
    machine = machine_line(describe(torch.device(options.device), options.threads))
    lines = ["# Tumor networks on synthetic cases\n", "Made by\n"]
    lines.append(f"    {shlex.join(['python', *sys.argv])}\n")
    lines.append(
        f"with monai-mamba {monai_mamba.__version__} and MONAI {monai.__version__} on {machine}. Training cases: "
        f"{cases['training']}; steps from scratch: {steps}, with windows of {options.window} voxels and seed "
        f"{options.seed}. Test cases: {cases['test']}, at {options.spacing:g} mm. Synthetic cases rank networks at "
        f"best; they say nothing about patients. {EMPTY_RULE}\n"
    )
    figures = []
    for name, run in runs.items():
        training, evaluation = run["train"], run["evaluate"]
        costs = (training["seconds"], training["seconds"] / steps, training["peak_GiB"])
        costs += (evaluation["seconds"] / cases["test"],)
        figures.append([name, f"{count_parameters(name):,}", *map(number, costs)])
    headers = ("network", "parameters", "training, s", "s per step", "training, peak GiB", "evaluation, s per case")
    lines += [
        "## Cost\n",
        "Seconds and peak memory (without a GPU's) of whole processes, with their start.\n",
        table(headers, figures),
    ]
    names = [f"{metric} {region}" for metric in ("DSC", "HD95") for region in (*REGIONS, "mean")]
    lines += ["## Scores\n", "Mean ± standard deviation over the cases; HD95 in mm.\n"]
    lines.append(table(["network", *names], [[name, *score_cells(values)] for name, values in scores.items()]))
    if len(scores) > 1:
        lines += [f"## {next(iter(scores))} minus each other\n", f"Means over the regions. {TEST_NOTES['p']}\n"]
        headers = ("metric", "other", "mean difference", "median difference", "effect size", "p", "p (Holm)")
        lines.append(table(headers, test_rows(scores)))
    return "\n".join(lines)


def compare(options: argparse.Namespace) -> None:
    """Train, evaluate and report.

    Raises:
        InputError: a data set or an option cannot be used.
    """
    if options.epochs < 1 or options.spacing <= 0 or options.window < 32 or options.window % 32:
        raise InputError(
            f"--epochs is {options.epochs}, --spacing {options.spacing:g}, --window {options.window}; expected 1 or "
            "more, more than 0, and a multiple of 32."
        )
    check_device(options.device)
    check_output_dir(options.output_dir)
    for folder in (options.training, options.test):
        find_labeled_cases(folder, "brats2023")
    runs, scores, subjects = {}, {}, {}
    for name in options.networks:
        print(f"{name} ...", flush=True)
        runs[name] = train_and_evaluate(name, options)
        subjects[name], scores[name] = read_scores(Path(options.output_dir).expanduser() / name / "scores.tsv")
    if len(set(map(tuple, subjects.values()))) > 1:
        raise InputError(
            f"{options.output_dir}: its networks were scored on different cases. Remove it and start anew."
        )
    write_report_files(Path(options.output_dir).expanduser(), {"report.md": report(options, runs, scores)})
    print(f"Wrote {Path(options.output_dir) / 'report.md'}.")


def main() -> int:
    """Parse the command line and compare; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--training", required=True, help="cases in the layout of BraTS 2023")
    parser.add_argument("--test", required=True, help="other cases, in the same layout")
    parser.add_argument("--output_dir", required=True, help="folder for the report, and one for each network")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), help="(all)")
    parser.add_argument("--epochs", type=int, default=40, help="one step per training case each (%(default)s)")
    parser.add_argument("--spacing", type=float, default=1.0, help="mm, to which cases are resampled (%(default)s)")
    parser.add_argument("--window", type=int, default=64, help="voxels along each side (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="(%(default)s)")
    parser.add_argument("--num_workers", type=int, default=0, help="processes that prepare windows (%(default)s)")
    parser.add_argument("--cache_rate", type=float, default=1.0, help="share of cases kept in memory (%(default)s)")
    try:
        compare(parser.parse_args())
    except MonaiMambaError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"Error: {shlex.join(error.cmd)} ended with status {error.returncode}; see above.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
