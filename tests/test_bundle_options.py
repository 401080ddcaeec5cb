"""`check_options` refuses what MONAI would ignore without a word."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import monai.bundle
import pytest
from monai.bundle import ConfigWorkflow

from monai_mamba.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "inference.json"
    content = {
        "imports": ["$import monai_mamba"],
        "output_dir": "results",
        "overlap": 0.25,
        "network_def": {"in_channels": 1},
        "initialize": ["$None"],
        "run": ["$monai_mamba.bundle.check_options()"],
    }
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    ("option", "advice"),
    [
        ("outputdir", "Did you mean --output_dir?"),
        ("overlp", "Did you mean --overlap?"),
        ("x", "The README of the bundle lists the options."),
    ],
)
def test_unknown_options_are_refused(config: str, option: str, advice: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        monai.bundle.run(config_file=config, logging_file=False, **{option: 1})
    error = caught.value.__cause__
    assert isinstance(error, InputError)
    assert str(error) == f"--{option}: the config {config} has no such option. {advice}"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"output_dir": "elsewhere", "overlap": 0.5},
        {"network_def#in_channels": 4, "network_def::out_channels": 3},
        {"half": 0.5, "overlap": "@half"},
        {"sizes": {"low": 0.1}, "overlap": "@sizes#low"},
        {"wide": 0.5, "overlap": "%wide"},
    ],
)
def test_known_options_and_those_referred_to_are_taken(config: str, options: dict[str, object]) -> None:
    monai.bundle.run(config_file=config, logging_file=False, **options)


def test_options_may_belong_to_any_of_several_configs(config: str, tmp_path: Path) -> None:
    more = tmp_path / "more.json"
    more.write_text(json.dumps({"sw_batch_size": 1}))
    monai.bundle.run(config_file=[config, str(more)], logging_file=False, sw_batch_size=2)


def test_without_a_command_nothing_is_checked(config: str) -> None:
    workflow = ConfigWorkflow(config, workflow_type="infer", logging_file=False, anything=1)
    workflow.initialize()
    workflow.run()


def test_a_misspelt_option_ends_a_command_with_a_sentence(tmp_path: Path) -> None:
    config = str(REPOSITORY / "bundles" / "subcortical" / "configs" / "inference.json")
    options = ["--config_file", config, "--outputdir", str(tmp_path / "results")]
    command = [sys.executable, "-m", "monai.bundle", "run", *options]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last == f"Error: --outputdir: the config {config} has no such option. Did you mean --output_dir?"
    assert not list(tmp_path.iterdir())
