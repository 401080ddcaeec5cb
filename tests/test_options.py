"""Options are taken as they were given; texts and numbers that cannot be right are refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from option_ways import (
    BUNDLES,
    CONTENT,
    SEEN,
    WAYS,
    command,
    config,
    from_args_file,
    from_command_line,
    from_python,
    sentence,
)

from monai_mamba.errors import InputError
from monai_mamba.options import LISTS, MAY_BE_NONE, NUMBER_OPTIONS, TEXT_OPTIONS, check_number, typed_options

__all__ = ["config"]  # a fixture

NAMES = [
    "pilot#2",
    "a,b",
    "a#b::c",
    "[1]",
    "@data",
    "x@y",
    "two words",
    "größe",
    "'quoted'",
    "new\nline",
    "#",
    "a\\x23",
]
NAMES += ["2024_01", "1e3", "0x10", "0012", "True", "None", "-1", "1", "a#b#c,d", "{a", "(1)", "1,2", "{a: b}"]


@pytest.mark.parametrize("way", WAYS)
def test_names_are_taken_as_they_are(way, monkeypatch, config, tmp_path):
    for name in NAMES:
        value = Path(name) if way is from_python else name
        way(monkeypatch, config, tmp_path, {"input": value, "output_dir": value, "device": value})
        assert SEEN.pop() == {"input": name, "output_dir": name, "device": name, "aseg": None}


def test_none_is_taken_where_it_may_be(monkeypatch, config, tmp_path):
    from_args_file(monkeypatch, config, tmp_path, {"aseg": "a"})
    from_command_line(monkeypatch, config, tmp_path, {"aseg": "None", "train#max_epochs": "None"})
    assert [seen["aseg"] for seen in SEEN] == ["a", None]
    with pytest.raises(RuntimeError) as caught:
        from_args_file(monkeypatch, config, tmp_path, {"input": None})
    assert sentence(caught) == "--input is None (NoneType), expected text. Put it in quotes."


@pytest.mark.parametrize("value", ["a#b", ["a", "b#c"]])
def test_texts_from_python_that_monai_has_changed_are_refused(value, monkeypatch, config, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        from_python(monkeypatch, config, tmp_path, {"input": value})
    assert "MONAI reads # as ::" in sentence(caught)


def test_a_command_line_takes_values_that_stand_apart(monkeypatch, config):
    command(
        monkeypatch,
        "--logging_file=False",
        "--config_file",
        config,
        "--input",
        "a#1",
        "--output-dir",
        "1e3",
        "--",
        "--separator=X",
    )
    assert SEEN[0] == {"input": "a#1", "output_dir": "1e3", "aseg": None, "device": "cpu"}


@pytest.mark.parametrize("way", WAYS)
def test_lists_and_mappings_of_names_are_taken(way, monkeypatch, config, tmp_path):
    for value in (["a.nii", "b,c.nii"], {"flair": "a.nii", "t1": "2024_01"}):
        way(monkeypatch, config, tmp_path, {"input": value})
        assert SEEN.pop()["input"] == value


def test_lists_that_are_typed_keep_their_names(monkeypatch, config, tmp_path):
    from_command_line(monkeypatch, config, tmp_path, {"input": ["a#1.nii", "@b", "2024_01"]})
    assert SEEN[0]["input"] == ["a#1.nii", "@b", "2024_01"]


def test_paths_and_devices_from_python_are_taken(monkeypatch, config, tmp_path):
    from_python(monkeypatch, config, tmp_path, {"output_dir": tmp_path / "a#b", "device": torch.device("cpu")})
    assert SEEN[0]["output_dir"] == str(tmp_path / "a#b")
    assert SEEN[0]["device"] == torch.device("cpu")


@pytest.mark.parametrize("way", WAYS)
def test_expressions_and_references_are_those_of_monai(way, monkeypatch, config, tmp_path):
    way(monkeypatch, config, tmp_path, {"input": "@bundle_root", "output_dir": "$@bundle_root + '#'"})
    assert SEEN[0]["input"] == "bundle"


@pytest.mark.parametrize("way", WAYS)
def test_an_empty_name_is_refused(way, monkeypatch, config, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        way(monkeypatch, config, tmp_path, {"input": ""})
    assert sentence(caught) == "--input is empty. Give it a value, or leave it out to get its default."


@pytest.mark.parametrize("way", [from_args_file, from_python])
def test_a_number_where_a_name_is_due_is_refused(way, monkeypatch, config, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        way(monkeypatch, config, tmp_path, {"output_dir": 202401})
    assert sentence(caught) == "--output_dir is 202401 (int), expected text. Put it in quotes."


@pytest.mark.parametrize("arguments", [["--input"], ["--input", "--overlap", "0.5"], ["--input", "-x.nii"]])
def test_an_option_without_a_value_is_refused(monkeypatch, config, arguments):
    with pytest.raises(RuntimeError) as caught:
        command(monkeypatch, "--logging_file=False", "--config_file", config, *arguments)
    assert sentence(caught).startswith("--input has no value.")


NO_PYTHON = {
    "a name that begins with $": ("$scan.nii.gz", "for Python, and this is not valid Python"),
    "$ and words": ("$my scan.nii", "Write ./$my scan.nii for a file of that name."),
    "a variable of the shell in single quotes": ("$HOME/scan.nii", "begins with $ for Python"),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_begins_as_python_but_is_none_is_refused(way, monkeypatch, config, tmp_path):
    for text, said in NO_PYTHON.values():
        with pytest.raises(RuntimeError) as caught:
            way(monkeypatch, config, tmp_path, {"input": text})
        assert sentence(caught).startswith(f"--input is {text}: ")
        assert said in sentence(caught)
    way(monkeypatch, config, tmp_path, {"input": "./$scan.nii", "output_dir": "./%out"})
    assert (SEEN[0]["input"], SEEN[0]["output_dir"]) == ("./$scan.nii", "./%out")


OUT_OF_RANGE = {
    "--overlap 1.0": ("a number from 0 to below 1",),
    "--overlap half": ("a number from 0 to below 1",),
    "--epochs 0": ("a whole number from 1",),
    "--sw_batch_size 1.5": ("a whole number from 1",),
    "--roi_size 96": ("a list of three, each a whole number from 1",),
    "--roi_size [96, 96]": ("a list of three, each a whole number from 1",),
    "--pixdim [-2, 2, 2]": ("a list of three, each a number of mm from 0.5 to 10",),
    "--pixdim [0.001, 0.001, 0.001]": ("a list of three, each a number of mm from 0.5 to 10",),
    "--cache_rate 2": ("a number from 0 to 1",),
}


def test_numbers_out_of_range_are_refused(monkeypatch, tmp_path):
    names = {option.split()[0].removeprefix("--") for option in OUT_OF_RANGE}
    values = {name: [8, 8, 8] if name in LISTS else 1 for name in names} | {"overlap": 0}
    uses = {"used": "$[" + ", ".join(f"@{name}" for name in names) + "]"}
    config = tmp_path / "numbers.json"
    config.write_text(json.dumps(CONTENT | values | uses))
    from_command_line(monkeypatch, str(config), tmp_path, {})
    SEEN.clear()
    for option, (expected,) in OUT_OF_RANGE.items():
        name, text = option.removeprefix("--").split(" ", 1)
        with pytest.raises(RuntimeError) as caught:
            from_command_line(monkeypatch, str(config), tmp_path, {name: text})
        assert sentence(caught) in [f"--{name} is {shown}, expected {expected}." for shown in (text, repr(text))]
    assert not SEEN


def test_every_number_option_of_the_bundles_is_declared():
    known = set()
    for path in BUNDLES.glob("*/configs/*.json"):
        if path.name not in ("metadata.json", "folds.json"):
            config = json.loads(path.read_text())
            values = {name: value if isinstance(value, list) else [value] for name, value in config.items()}
            known |= {name for name, parts in values.items() if "#" not in name and {*map(type, parts)} <= {int, float}}
    assert known - {"fold"} == set(NUMBER_OPTIONS)  # a fold may be a word


def test_an_option_given_twice_is_refused(monkeypatch, config):
    arguments = ["--overlap", "0.5", "--input=a.nii", "--overlap=0.25"]
    with pytest.raises(RuntimeError) as caught:
        command(monkeypatch, "--logging_file=False", "--config_file", config, *arguments)
    assert sentence(caught) == "--overlap is given twice, 0.5 and 0.25. Leave one of them out."


def test_every_text_option_of_the_bundles_is_declared():
    """Those with a text or a path as default; those without a default are named here."""
    names = set(MAY_BE_NONE)
    for path in BUNDLES.glob("*/configs/*.json"):
        if path.name in ("metadata.json", "folds.json"):
            continue
        for name, value in json.loads(path.read_text()).items():
            is_path = isinstance(value, str) and re.search(r"\+ '/[^']*'(?!\))|bundle_root\('|torch\.device", value)
            is_text = isinstance(value, str) and not value.startswith(("$", "@"))
            if "#" not in name and (is_path or is_text):
                names.add(name)
    assert names <= TEXT_OPTIONS
    # References to other text options, and those of MONAI's tracking.
    assert TEXT_OPTIONS - names == {"ckpt_dir", "written_table", "experiment_name", "tracking_uri"}


def test_numbers_of_numpy_are_numbers():
    check_number("sw_batch_size", np.int64(2))
    check_number("roi_size", list(np.array([64, 64, 64])))
    check_number("overlap", np.float32(0.5))
    with pytest.raises(InputError, match=r"--overlap is '0\.5', expected a number"):
        check_number("overlap", "0.5")
    with pytest.raises(InputError, match=r"--sw_batch_size is .*, expected a whole number"):
        check_number("sw_batch_size", np.int64(0))


def test_a_command_line_is_split_as_fire_does():
    line = "run --a 1 --b=x=y -c --d-e f g --h --i -1 -- --j 2 -- --trace"
    assert typed_options(line.split()) == {
        "a": "1", "b": "x=y", "c": None, "d_e": "f", "h": None, "i": "-1", "": None, "j": "2",
    }  # fmt: skip
