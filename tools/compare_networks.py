"""Train networks, or one in several ways, on the same data with the same budget and seed; compare them on other data.

    python tools/compare_networks.py hippocampus --dataset_dir Task04_Hippocampus --output_dir hippocampus_networks
    python tools/compare_networks.py subcortical --dataset_dir scans --scan_table scans.tsv --output_dir networks
    python tools/compare_networks.py tumor --training training --test test --spacing 2 --output_dir tumor_networks

Each network is trained from scratch by the bundle's config with the settings of the study (tools/studies), and the
final weights are evaluated. Both run in a process of their own, whose time and peak memory are reported. A network
whose folder holds the result of the same settings is not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import torch
from benchmarks.machine import describe, run_measured
from reports import run_command, write_files
from studies.folds import HIPPOCAMPUS, SUBCORTICAL
from studies.report import report
from studies.study import Plan, Study
from studies.tumor import TUMOR

import monai_mamba
from monai_mamba.checks import check_device, check_output_dir
from monai_mamba.errors import InputError, MonaiMambaError

STUDIES = {"hippocampus": HIPPOCAMPUS, "subcortical": SUBCORTICAL, "tumor": TUMOR}


def run_bundle(bundle: str, configs: list[str], given: dict[str, object], threads: int) -> dict[str, float]:
    """Run configs of a bundle, merged in their order, with options in a process of their own; see `run_measured`."""
    files = [f"{monai_mamba.bundle_root(bundle)}/configs/{name}" for name in configs]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files)]
    command += [text for name, value in given.items() for text in (f"--{name}", str(value))]
    try:
        return run_measured(command, threads)
    except subprocess.CalledProcessError as error:
        raise MonaiMambaError(f"{shlex.join(command)} ended with status {error.returncode}; see above.") from error


def train_and_evaluate(study: Study, plan: Plan, name: str, options: argparse.Namespace) -> dict[str, dict]:
    """Train one network and evaluate it, unless its folder holds the result of the same settings.

    Returns:
        The settings of both runs, their seconds and memory, and where they were made.
    """
    folder = options.output_dir / name
    common = {
        study.network_key: study.definition(name),
        **study.networks[name].options,
        "output_dir": str(folder),
        "device": options.device,
        "seed": options.seed,
    }
    training, evaluation = plan.training | common, plan.evaluation | common
    training["resume"], evaluation["weights"] = False, str(folder / "model.pt")
    settings = {"bundle": study.bundle, "training": training, "evaluation": evaluation, "cases": plan.cases}
    settings = json.loads(json.dumps(settings))  # as a file gives them back: tuples become lists
    result_file = folder / "run.json"
    found = read_result(result_file)
    if found.get("settings") == settings and (folder / "scores.tsv").is_file():
        return found
    result_file.unlink(missing_ok=True)  # what it tells of is overwritten now
    made = {**describe(torch.device(options.device), options.threads), "monai_mamba": monai_mamba.__version__}
    result = {"settings": settings, "made": made}
    result["train"] = run_bundle(study.bundle, ["train.json"], training, options.threads)
    result["evaluate"] = run_bundle(study.bundle, ["train.json", "evaluate.json"], evaluation, options.threads)
    write_files(folder, {"run.json": json.dumps(result, indent=1) + "\n"})
    return result


def read_result(path: Path) -> dict[str, dict]:
    """The result of an earlier run, empty if there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def compare(options: argparse.Namespace) -> None:
    """Train, evaluate and report."""
    study = STUDIES[options.study]
    unknown = sorted(set(options.networks) - set(study.networks))
    if unknown:
        raise InputError(f"--networks: {unknown} are not in the study. Choose from {', '.join(study.networks)}.")
    if options.threads < 1 or options.seed < 0:
        raise InputError(f"--threads is {options.threads}, --seed {options.seed}; expected 1 or more, and 0 or more.")
    plan = study.plan(options)
    check_device(options.device)
    check_output_dir(options.output_dir)
    runs, scores = {}, {}
    for name in options.networks or study.networks:
        print(f"{name} ...", flush=True)
        runs[name] = train_and_evaluate(study, plan, name, options)
        scores[name] = study.read_scores(options.output_dir / name / "scores.tsv")
    write_files(options.output_dir, report(study, plan, options.seed, runs, scores))
    print(f"Wrote {options.output_dir / 'report.md'}.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    studies = parser.add_subparsers(dest="study", required=True)
    for name, study in STUDIES.items():
        command = studies.add_parser(name, description=study.about)
        study.add_arguments(command)
        text = "folder for the report, and one for each network"
        command.add_argument("--output_dir", type=lambda path: Path(path).expanduser(), required=True, help=text)
        command.add_argument("--networks", nargs="+", default=[], help=f"of {', '.join(study.networks)} (all)")
        command.add_argument("--seed", type=int, default=0, help="(%(default)s)")
        command.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)")
        command.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="(%(default)s)")
    return run_command(compare, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
