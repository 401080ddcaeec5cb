"""A small config that writes down the options it got, and the ways by which users give them."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow

from monai_mamba.errors import InputError

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
SEEN: list[dict[str, Any]] = []
CONTENT = {
    "imports": ["$import monai_mamba", "$from option_ways import SEEN"],
    "bundle_root": "bundle",
    "input": "scan.nii.gz",
    "output_dir": "$@bundle_root + '/eval'",
    "aseg": None,
    "device": "cpu",
    "overlap": 0.25,
    "unused": 1,
    "inferer": {"_target_": "SlidingWindowProbabilityInferer", "roi_size": [8, 8, 8], "overlap": "@overlap"},
    "network_def": {"_target_": "medsegmamba_small", "in_channels": 1, "out_channels": 36},
    "train": {"transforms": [{"_target_": "Flipd", "keys": "image"}], "max_epochs": 1},
    "used": "$[@inferer, @train#transforms, @train#max_epochs, @network_def]",
    "initialize": ["$monai_mamba.bundle.check_options()"],
    "run": [
        "$monai_mamba.bundle.check_options()",
        "$SEEN.append({'input': @input, 'output_dir': @output_dir, 'aseg': @aseg, 'device': @device})",
    ],
}


@pytest.fixture
def config(tmp_path: Path) -> str:
    SEEN.clear()
    path = tmp_path / "inference.json"
    path.write_text(json.dumps(CONTENT))
    return str(path)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str, name: str = "run") -> None:
    """Run MONAI's command line in this process."""
    monkeypatch.setattr(sys, "argv", ["monai.bundle", name, *arguments])
    monkeypatch.delitem(sys.modules, "monai.bundle.__main__", raising=False)
    runpy.run_module("monai.bundle", run_name="__main__")


def from_command_line(monkeypatch, config, tmp_path, options):
    command(
        monkeypatch, "--config_file", config, "--logging_file", "False", *(f"--{k}={v}" for k, v in options.items())
    )


def from_run_workflow(monkeypatch, config, tmp_path, options):
    arguments = [f"--{name}={value}" for name, value in options.items()]
    command(monkeypatch, "--config_file", config, "--logging_file", "False", *arguments, name="run_workflow")


def from_args_file(monkeypatch, config, tmp_path, options):
    (tmp_path / "args").mkdir(exist_ok=True)
    (tmp_path / "args" / "a.json").write_text(json.dumps({"config_file": config, "logging_file": False, **options}))
    command(monkeypatch, "--args_file", str(tmp_path / "args" / "a.json"))


def from_python(monkeypatch, config, tmp_path, options):
    workflow = ConfigWorkflow(config, workflow_type="infer", logging_file=False, **options)
    workflow.initialize()
    workflow.run()


WAYS = [from_command_line, from_run_workflow, from_args_file, from_python]


def sentence(caught: pytest.ExceptionInfo) -> str:
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    assert error is not None, caught.value
    return str(error)
