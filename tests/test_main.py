"""`python -m monai_mamba`: what it says, and what it hands to MONAI."""

from __future__ import annotations

import json
import sys

import pytest

from monai_mamba.__main__ import main
from monai_mamba.errors import InputError

CONFIG = {
    "imports": ["$import monai_mamba"],
    "input": "scan.nii.gz",
    "initialize": ["$monai_mamba.bundle.check_options()"],
    "run": ["$print('input:', @input, @mode)"],
}


@pytest.fixture
def bundle(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "bundles" / "tiny"
    (folder / "configs").mkdir(parents=True)
    contents = {"metadata": {"version": "1.0.0"}, "inference": CONFIG | {"mode": 1}, "other": {"mode": 2}}
    for name, content in contents.items():
        (folder / "configs" / f"{name}.json").write_text(json.dumps(content))
    monkeypatch.setattr("monai_mamba.bundle.PACKAGE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["monai_mamba"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


def test_run_is_the_command_line_of_monai(bundle, capsys):
    for words, found in (
        ("--input a#1", "a#1 1"),
        ("inference other --input=2024_01", "2024_01 2"),
        ("", "scan.nii.gz 1"),
    ):
        main(["run", "tiny", *words.split()])
        assert f"input: {found}\n" in capsys.readouterr().out


def test_help_names_the_bundles(bundle, capsys):
    with pytest.raises(SystemExit):
        main(["run", "large"])
    assert "(choose from" in capsys.readouterr().err
    main(["run", "tiny", "--help"])
    assert "{tiny}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["infer", "metadata"])
def test_a_config_that_is_not_there_is_refused(bundle, name):
    with pytest.raises(
        InputError, match=f"^tiny has no config {name}. It has inference, other. A scan is given with --input.$"
    ):
        main(["run", "tiny", name])


@pytest.mark.parametrize("name", ["args_file", "logging_file", "meta_file"])
def test_a_file_of_options_that_is_not_there_is_refused(bundle, name, tmp_path):
    with pytest.raises(InputError, match=f"^--{name} is .*absent.json; there is no such file"):
        main(["run", "tiny", f"--{name}", str(tmp_path / "absent.json")])


FILES: dict[str, tuple[str, str]] = {
    "--args_file, no JSON": ('{"input": ', "expected JSON or YAML, found something else"),
    "--meta_file, no JSON": ("[", "expected JSON or YAML, found something else"),
    "--logging_file, no sections": ("text", "expected a file of Python's logging, found something else"),
    "--logging_file, other sections": ("[a]\n", "expected a file of Python's logging, found something else"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_of_options_that_cannot_be_read_is_refused(bundle, case, tmp_path):
    content, message = FILES[case]
    option, path = case.split(",")[0], tmp_path / "given.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        main(["run", "tiny", option, str(path)])
    assert str(caught.value).startswith(f"{option} is {path}; {message}")


def test_other_configs_and_empty_names_of_files_are_refused(bundle):
    with pytest.raises(
        InputError, match=r"^--config_file is own\.json, but 'run' takes the configs of the bundle by name"
    ):
        main(["run", "tiny", "--config_file", "own.json"])
    with pytest.raises(InputError, match=r"^--logging_file is ; there is no such file"):
        main(["run", "tiny", "--logging_file="])
