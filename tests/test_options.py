"""`check_options` takes options as they were given, and refuses what MONAI would ignore without a word."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import monai.bundle
import pytest
import torch
from monai.bundle import ConfigWorkflow

from monai_mamba.errors import InputError
from monai_mamba.options import LISTS, MAY_BE_NONE, NUMBER_OPTIONS, TEXT_OPTIONS, typed_options

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
SEEN: list[dict[str, Any]] = []
CONTENT = {
    "imports": ["$import monai_mamba", "$from test_options import SEEN"],
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
    "a name that begins with $": ("$scan.nii.gz", "is Python to MONAI, and this is none that it knows"),
    "$ and words": ("$my scan.nii", "Write ./$my scan.nii for a file of that name."),
    "a variable of the shell in single quotes": ("$HOME/scan.nii", "is Python to MONAI"),
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


MONAI_ITSELF = {
    "a config file that is not there": ("config_file", "absent.json", "Cannot find the config file: absent.json"),
    "an option below an entry that is not there": ("nothing#x", 1, "query key: nothing"),
    "a name that begins with %": ("input", "%scan.nii", "query key: scan.nii"),
}


@pytest.mark.parametrize("case", MONAI_ITSELF)
def test_what_monai_refuses_before_the_bundle_is_asked_is_named_by_monai(case, monkeypatch, config, tmp_path):
    """Nothing of the package runs before these errors, so that it cannot say them in a sentence."""
    option, value, said = MONAI_ITSELF[case]
    with pytest.raises(Exception, match=said):
        from_command_line(monkeypatch, value if option == "config_file" else config, tmp_path, {option: value})
    assert not SEEN


def test_options_of_tracking_without_tracking_are_refused(monkeypatch, config, tmp_path):
    for name in ("experiment_name", "run_name", "tracking_uri"):
        with pytest.raises(RuntimeError) as caught:
            from_command_line(monkeypatch, config, tmp_path, {name: "x"})
        assert sentence(caught) == f"--{name}: only tracking uses it. Add --tracking mlflow, or leave it out."


OUT_OF_RANGE = {
    "--overlap 1.0": ("a number from 0 to below 1",),
    "--overlap half": ("a number from 0 to below 1",),
    "--epochs 0": ("a whole number from 1",),
    "--sw_batch_size 1.5": ("a whole number from 1",),
    "--roi_size 96": ("a list of three, each a whole number from 1",),
    "--roi_size [96, 96]": ("a list of three, each a whole number from 1",),
    "--pixdim [-2, 2, 2]": ("a list of three, each a number above 0",),
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
        assert sentence(caught) == f"--{name} is {text}, expected {expected}."
    assert not SEEN


def test_every_number_option_of_the_bundles_is_declared():
    known = set()
    for path in BUNDLES.glob("*/configs/*.json"):
        if path.name not in ("metadata.json", "folds.json"):
            config = json.loads(path.read_text())
            values = {name: value if isinstance(value, list) else [value] for name, value in config.items()}
            known |= {name for name, parts in values.items() if "#" not in name and {*map(type, parts)} <= {int, float}}
    assert known - {"fold"} == set(NUMBER_OPTIONS)  # a fold may be a word


def test_a_reference_to_no_entry_is_refused(monkeypatch, config, tmp_path):
    content = CONTENT | {"inferer": {**CONTENT["inferer"], "overlap": "$max(@overlp, 0)"}}
    Path(config).write_text(json.dumps(content))
    with pytest.raises(RuntimeError) as caught:
        from_command_line(monkeypatch, config, tmp_path, {})
    assert (
        sentence(caught)
        == "inferer#overlap is $max(@overlp, 0), and the config has no entry overlp. Did you mean @overlap?"
    )


def test_an_option_given_twice_is_refused(monkeypatch, config):
    arguments = ["--overlap", "0.5", "--input=a.nii", "--overlap=0.25"]
    with pytest.raises(RuntimeError) as caught:
        command(monkeypatch, "--logging_file=False", "--config_file", config, *arguments)
    assert sentence(caught) == "--overlap is given twice, 0.5 and 0.25. Leave one of them out."


UNKNOWN = {
    "--outputdir": ("the config has no such option. Did you mean --output_dir?",),
    "--overlp": ("the config has no such option. Did you mean --overlap?",),
    "--x": ("the config has no such option. The README of the bundle lists the options.",),
    "--train#max_epoch": ("the config has no such option. Did you mean --train#max_epochs?",),
    "--train#transforms#0#key": ("Flipd has no such argument. Did you mean --train#transforms#0#keys?",),
    "--inferer#overlapp": ("SlidingWindowProbabilityInferer has no such argument. Did you mean --inferer#overlap?",),
    "--inferer::overlapp": ("SlidingWindowProbabilityInferer has no such argument. Did you mean --inferer#overlap?",),
    "--network_def#drop_rate": ("medsegmamba_small has no such argument. Did you mean --network_def#dropout_rate?",),
    "--network_def#_target_": ("there is no component 2. Check its name.",),
    "--unused": ("nothing in this config uses it. Leave it out.",),
}


@pytest.mark.parametrize("way", WAYS)
def test_unknown_options_are_refused(way, monkeypatch, config, tmp_path):
    for option, (advice,) in UNKNOWN.items():
        with pytest.raises(RuntimeError) as caught:
            way(monkeypatch, config, tmp_path, {option.removeprefix("--"): "2"})
        assert sentence(caught) == f"{option.replace('::', '#')}: {advice}"
        assert not SEEN


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"overlap": 0.5, "network_def#in_channels": 4, "network_def::dropout_rate": 0.3},
        {"half": 0.5, "overlap": "@half"},
        {"sizes": {"low": 0.1}, "overlap": "@sizes#low"},
        {"train#transforms#0#_disabled_": True, "_comment": "a trial"},
    ],
)
@pytest.mark.parametrize("way", [from_args_file, from_python])
def test_known_options_and_those_referred_to_are_taken(way, monkeypatch, config, tmp_path, options):
    way(monkeypatch, config, tmp_path, options)
    assert len(SEEN) == 1


def test_macros_of_a_command_may_refer_to_new_entries(monkeypatch, config, tmp_path):
    from_args_file(monkeypatch, config, tmp_path, {"wide": 0.5, "overlap": "%wide"})


def test_options_may_belong_to_any_of_several_configs(config, tmp_path):
    more = tmp_path / "elsewhere" / "more.json"
    more.parent.mkdir()
    more.write_text(json.dumps({"note": 1}))
    monai.bundle.run(config_file=[config, str(more)], logging_file=False)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--input", "a.nii", "b.nii"], "--run_id is 'b.nii', an entry that the config does not have. Put a pattern"),
        (["--run_id", "rum"], "--run_id is 'rum', an entry that the config does not have. Did you mean --run?"),
        (["--init_id", "initialise"], "--init_id is 'initialise', an entry that the config does not have. Did you"),
        (["--final_id", "zzz"], "--final_id is 'zzz', an entry"),
    ],
)
def test_unknown_ids_are_refused(monkeypatch, config, arguments, found):
    with pytest.raises(RuntimeError) as caught:
        command(monkeypatch, "--logging_file=False", "--config_file", config, *arguments)
    assert sentence(caught).startswith(found)


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
    assert TEXT_OPTIONS - names == {"ckpt_dir", "written_table"}  # references to other text options


def test_a_command_line_is_split_as_fire_does():
    line = "run --a 1 --b=x=y -c --d-e f g --h --i -1 -- --j 2 -- --trace"
    assert typed_options(line.split()) == {
        "a": "1", "b": "x=y", "c": None, "d_e": "f", "h": None, "i": "-1", "": None, "j": "2",
    }  # fmt: skip


COMBINATIONS = [
    ("subcortical", "inference"),
    ("subcortical", "inference multi_gpu_inference"),
    ("subcortical", "train multi_gpu_train network_tabsurfer"),
    ("subcortical", "train evaluate"),
    ("hippocampal_subfields", "inference fs60_inference multi_gpu_inference"),
    ("hippocampal_subfields", "train fs60_train evaluate"),
    ("hippocampal_subfields", "train evaluate"),
    ("brats_multimodal", "inference multi_gpu_inference network_segmamba"),
    ("brats_multimodal", "train multi_gpu_train"),
    ("brats_multimodal", "train evaluate network_msd_kmamba_small"),
]


def test_tracking_brings_options_of_its_own(tmp_path):
    file = str(BUNDLES / "subcortical" / "configs" / "train.json")
    options = {"output_dir": str(tmp_path), "experiment_name": "x", "run_name": "y", "tracking_uri": str(tmp_path)}
    check = ["$monai_mamba.bundle.check_options()"]
    ConfigWorkflow(file, logging_file=False, tracking="mlflow", initialize=check, **options).initialize()


@pytest.mark.parametrize(("bundle", "names"), COMBINATIONS)
def test_the_bundles_pass_their_own_check(bundle, names):
    files = [str(BUNDLES / bundle / "configs" / f"{name}.json") for name in names.split()]
    check = ["$monai_mamba.bundle.check_options()"]
    ConfigWorkflow(files, workflow_type="train", logging_file=False, initialize=check).initialize()
