"""`check_options` refuses options and references that MONAI would ignore, or of which it says too little."""

from __future__ import annotations

import json
from pathlib import Path

import monai.bundle
import pytest
from monai.bundle import ConfigWorkflow
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

__all__ = ["config"]  # a fixture

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


def test_a_reference_to_no_entry_is_refused(monkeypatch, config, tmp_path):
    content = CONTENT | {"inferer": {**CONTENT["inferer"], "overlap": "$max(@overlp, 0)"}}
    Path(config).write_text(json.dumps(content))
    with pytest.raises(RuntimeError) as caught:
        from_command_line(monkeypatch, config, tmp_path, {})
    assert (
        sentence(caught)
        == "inferer#overlap is $max(@overlp, 0), and the config has no entry overlp. Did you mean @overlap?"
    )


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
