"""Train networks, or one in several ways, on the same data with the same budget and seed; compare them on other data.

    python tools/compare_networks.py --study hippocampus --output_dir networks -- --dataset_dir Task04_Hippocampus
    python tools/compare_networks.py --study subcortical --output_dir networks -- --dataset_dir scans
    python tools/compare_networks.py --study tumor --output_dir networks

A study is a JSON file like those in tools/studies: a bundle, its networks (each a part of a config), and options of the
bundle for training, evaluation, or both. What follows -- are options of the bundle, too; they replace those of the
study. Each network is trained from scratch, and the final weights are evaluated, in processes of their own, whose time
and peak memory are reported. A network whose folder holds the result of the same settings is not trained again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from benchmarks.machine import describe, run_measured
from evaluation.label_sets import read_scores
from reports import run_command, write_files
from studies.report import report

import monai_mamba
from monai_mamba.checks import check_device, check_output_dir
from monai_mamba.errors import InputError, MonaiMambaError
from monai_mamba.files import read_json
from monai_mamba.options import typed_options
from monai_mamba.threads import usable_cores

STUDIES = Path(__file__).with_name("studies")
OPTIONS = ("both", "training", "evaluation")  # what options of a study are for


def read_study(name: str, words: Sequence[str]) -> dict[str, dict]:
    """A study with the words of the command line, `--name value`, as its options: where it has them, else in `both`."""
    path = STUDIES / f"{name}.json"
    study = read_json(path if path.is_file() else name)
    if not {"about", "bundle", "networks", *OPTIONS} <= set(study):
        names = ", ".join(sorted(path.stem for path in STUDIES.glob("*.json")))
        raise InputError(f"{name}: not a study. Choose from {names}, or give a JSON file like those in {STUDIES}.")
    for option, text in typed_options(words).items():
        if text is None:
            raise InputError(f"--{option} has no value. Write --{option} VALUE.")
        for part in [part for part in OPTIONS if option in study[part]] or ["both"]:
            study[part][option] = text
    return study


def run_bundle(bundle: str, configs: list[str], given: dict[str, object], threads: int) -> dict[str, float]:
    """Run configs of a bundle, merged in their order, with options in a process of their own; see `run_measured`."""
    files = [f"{monai_mamba.bundle_root(bundle)}/configs/{name}" for name in configs]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files)]
    command += [text for name, value in given.items() for text in (f"--{name}", str(value))]
    try:
        return run_measured(command, threads)
    except subprocess.CalledProcessError as error:
        raise MonaiMambaError(f"{shlex.join(command)} ended with status {error.returncode}; see above.") from error


def train_and_evaluate(study: dict[str, dict], name: str, options: argparse.Namespace) -> dict[str, dict]:
    """Train one network and evaluate it, unless its folder holds the result of the same settings.

    Returns:
        The settings of both runs, their seconds and memory, and where they were made.
    """
    folder = options.output_dir / name
    common = {"seed": 0, **study["both"], **study["networks"][name], "output_dir": str(folder)}
    common["device"] = options.device
    training = {**study["training"], **common, "resume": False}
    evaluation = {**study["evaluation"], **common, "weights": str(folder / "model.pt")}
    settings = {"bundle": study["bundle"], "training": training, "evaluation": evaluation}
    result_file = folder / "run.json"
    found = read_json(result_file)
    if found.get("settings") == settings and (folder / "scores.tsv").is_file():
        return found
    result_file.unlink(missing_ok=True)  # what it tells of is overwritten now
    made = {**describe(torch.device(options.device), options.threads), "monai_mamba": monai_mamba.__version__}
    result = {"settings": settings, "made": made}
    result["train"] = run_bundle(study["bundle"], ["train.json"], training, options.threads)
    result["evaluate"] = run_bundle(study["bundle"], ["train.json", "evaluate.json"], evaluation, options.threads)
    write_files(folder, {"run.json": json.dumps(result, indent=1) + "\n"})
    return result


def compare(options: argparse.Namespace) -> None:
    """Train, evaluate and report."""
    study = read_study(options.study, options.bundle_options)
    networks = options.networks or list(study["networks"])
    if unknown := sorted(set(networks) - set(study["networks"])):
        raise InputError(f"--networks: {unknown} are not in the study. Choose from {', '.join(study['networks'])}.")
    if options.threads < 1:
        raise InputError(f"--threads is {options.threads}; expected 1 or more.")
    check_device(options.device)
    check_output_dir(options.output_dir)
    runs, scores = {}, {}
    for name in networks:
        print(f"{name} ...", flush=True)
        runs[name] = train_and_evaluate(study, name, options)
        metrics, cases = read_scores(options.output_dir / name / "scores.tsv")
        structures = list(next(iter(cases.values())))
        scores[name] = np.array([list(cases[case].values()) for case in sorted(cases)])
    write_files(options.output_dir, report(study, runs, scores, metrics, structures))
    print(f"Wrote {options.output_dir / 'report.md'}.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="hippocampus, subcortical or tumor, or a JSON file like theirs")
    text = "folder for the report, and one for each network"
    parser.add_argument("--output_dir", type=lambda path: Path(path).expanduser(), required=True, help=text)
    parser.add_argument("--networks", nargs="+", default=[], help="some of the study (all)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=min(2, usable_cores()), help="(%(default)s)")
    parser.add_argument("bundle_options", nargs="*", metavar="-- OPTION", help="options of the bundle, after --")
    return run_command(compare, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
