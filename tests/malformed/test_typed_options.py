"""Options of the bundles' own configs: what is typed is what is used, or the command says why not."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from monai_mamba.errors import MonaiMambaError

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
CONFIGS = [
    ("subcortical", "inference", "input"),
    ("subcortical", "train", "dataset_dir"),
    ("subcortical", "train", "label_maps"),
    ("hippocampal_subfields", "inference", "input"),
    ("hippocampal_subfields", "train", "dataset_dir"),
    ("brats_multimodal", "inference", "input"),
    ("brats_multimodal", "train", "dataset_dir"),
]


def failure(monkeypatch, folder: Path, bundle: str, config: str, *arguments: str) -> str:
    """Run MONAI's command line in a folder, and return the package's own error."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.delitem(sys.modules, "monai.bundle.__main__", raising=False)
    (folder / "none.pt").touch()
    options = ["--config_file", str(BUNDLES / bundle / "configs" / f"{config}.json"), "--logging_file", "False"]
    options += ["--weights", "none.pt"] if config == "inference" else []
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", *options, "--device", "cpu", *arguments])
    with pytest.raises(Exception) as caught:  # noqa: PT011 - MONAI wraps it more than once
        runpy.run_module("monai.bundle", run_name="__main__")
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, MonaiMambaError):
        error = error.__cause__ or error.__context__
    assert error is not None, caught.value
    return str(error)


@pytest.mark.parametrize(("bundle", "config", "option"), CONFIGS)
def test_folders_are_those_that_were_typed(bundle, config, option, tmp_path, monkeypatch):
    for name, other in (("pilot#2", "pilot"), ("2024_01", "202401"), ("1e3", "1000.0")):
        (tmp_path / other).mkdir()
        output = f"results {name}"
        error = failure(monkeypatch, tmp_path, bundle, config, f"--{option}", name, f"--output_dir={output}")
        assert error.startswith(f"{name}: there is no such"), error
        assert (tmp_path / output).is_dir()
        assert list((tmp_path / other).iterdir()) == []
    assert len(list(tmp_path.iterdir())) == 7  # and none.pt


@pytest.mark.parametrize(("bundle", "config", "option"), CONFIGS)
def test_misspelt_and_empty_options_are_named_before_anything_is_made(bundle, config, option, tmp_path, monkeypatch):
    last = {"network_def#out_channel": "network_def#out_channels", f"{option}s": option}
    if bundle == "brats_multimodal":
        last = {"network_def#network#in_channel": "network_def#network#in_channels", f"{option}s": option}
    for wrong, right in last.items():
        error = failure(monkeypatch, tmp_path, bundle, config, f"--{wrong}", "3")
        assert f"Did you mean --{right}?" in error
    for name in (option, "output_dir"):
        assert f"--{name} is empty" in failure(monkeypatch, tmp_path, bundle, config, f"--{name}=")
    (tmp_path / "none.pt").unlink()
    assert list(tmp_path.iterdir()) == []


def test_options_of_another_config_are_not_passed_over(tmp_path, monkeypatch):
    error = failure(monkeypatch, tmp_path, "subcortical", "inference", "--learning_rate", "0.1")
    assert error == "--learning_rate: nothing in this config uses it. Leave it out."
    (tmp_path / "arguments.json").write_text(json.dumps({"outputdir": "x"}))
    error = failure(monkeypatch, tmp_path, "subcortical", "inference", "--args_file", "arguments.json")
    assert error == "--outputdir: the config has no such option. Did you mean --output_dir?"
