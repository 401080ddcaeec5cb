"""The comparison of networks: tiny ones trained for two steps, and how their scores are reported."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import compare_networks as tool
import forked
import monai.bundle
import nibabel as nib
import numpy as np
import pytest
from evaluation.label_sets import read_scores
from fire.parser import DefaultParseValue
from head_phantom import centered_affine, save_head
from studies import report
from tumor_phantom import save_case

import monai_mamba
from monai_mamba.errors import MonaiMambaError

SHAPE = (40, 44, 42)
STUDIES = {path.stem: json.loads(path.read_text()) for path in tool.STUDIES.glob("*.json")}


def call(*arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["compare_networks.py", *map(str, arguments)])
        return tool.main()


def here(calls: list):
    """Runs a bundle in this process, with what its own process would get."""

    def run(bundle: str, configs: list[str], given: dict, threads: int) -> dict[str, float]:
        calls.append((configs[-1], given))
        folder = monai_mamba.bundle_root(bundle) + "/configs"
        files = [f"{folder}/{name}" for name in configs]
        read = {name: DefaultParseValue(value) if isinstance(value, str) else value for name, value in given.items()}
        monai.bundle.run(config_file=files, logging_file=False, **read)
        return {"seconds": 10.0, "peak_GiB": 1.0}

    return run


def save_study(path: Path, name: str, networks: dict[str, dict], **training: object) -> Path:
    """A study with tiny networks, and as much training."""
    study = {**STUDIES[name], "networks": networks}
    study["training"] = {**study["training"], **training}
    path.write_text(json.dumps(study))
    return path


def config_of(bundle: str, name: str) -> dict:
    return json.loads(Path(monai_mamba.bundle_root(bundle), "configs", name).read_text())


def size(study: str, name: str, roi_size: list[int]) -> tuple[int, int]:
    network = {**STUDIES[study]["networks"][name], "roi_size": roi_size}
    return report.network_size(report.training_config(STUDIES[study]["bundle"], network))


def test_two_tumor_networks_are_trained_scored_and_compared(monkeypatch, tmp_path, capsys):
    for folder, count in (("training", 2), ("test", 1)):
        for number in range(count):
            name = f"BraTS-GLI-0000{number}-000"
            save_case(tmp_path / folder / name, name, "2023", label=True, center=np.array([4.0 - number, 3.0, 2.0]))
    calls: list = []
    tiny = {"_target_": "MSDKMamba", "channels": [8] * 5, "depths": [1] * 4, "d_state": 2}
    tiny |= {"in_channels": 4, "out_channels": 3}
    networks = {
        "tiny": {"network_def#network": tiny},
        "tiny-no_mamba": {"network_def#network": {**tiny, "mixer": None}, "distillation_weight": 0.0},
    }
    study = save_study(tmp_path / "study.json", "tumor", networks, iterations_per_epoch=2)
    monkeypatch.setattr(tool, "run_bundle", here(calls))
    monkeypatch.chdir(tmp_path)  # the folders of the study are beside each other
    arguments = ["--study", study, "--output_dir", tmp_path / "out", "--device", "cpu", "--threads", 1]
    options = ["--", "--epochs", 1, "--roi_size", "[32,32,32]", "--pixdim", "[1,1,1]"]
    assert call(*arguments, *options) == 0
    assert [config for config, _ in calls] == ["train.json", "evaluate.json"] * 2
    assert ["epochs" in given for _, given in calls] == [True, False] * 2
    assert {given["roi_size"] for _, given in calls} == {"[32,32,32]"}
    for folder in networks:
        state = tool.torch.load(tmp_path / "out" / folder / "checkpoint.pt", weights_only=True)
        assert state["trainer"]["iteration"] == 2  # all cases of the training folder, none held out
        metrics, cases = read_scores(tmp_path / "out" / folder / "scores.tsv")
        assert (metrics, len(cases)) == (["dsc", "hd95_mm"], 1)
        assert json.loads((tmp_path / "out" / folder / "run.json").read_text())["train"]["seconds"] == 10
    assert calls[2][1]["network_def#network"]["mixer"] is None
    assert calls[2][1]["distillation_weight"] == 0
    text = (tmp_path / "out" / "report.md").read_text()
    sizes = [
        report.network_size(report.training_config("brats_multimodal", {**network, "roi_size": [32] * 3}))
        for network in networks.values()
    ]
    assert sizes[0][0] > sizes[1][0]
    for name, (parameters, operations) in zip(networks, sizes, strict=True):
        cells = (report.number(parameters, 1e6), report.number(operations, 1e9))
        assert f"| {name} | {cells[0]} | 32x32x32 | {cells[1]} | 10 | 5 | 1 | 10 |" in text
    assert "1 test cases." in text
    assert "from scratch for 2 steps" in text
    table = (tmp_path / "out" / "scores.tsv").read_text().splitlines()
    assert table[0].split("\t") == ["metric", "network", "structure", "mean", "sd"]
    assert len(table) == 1 + 2 * 2 * 4  # metrics, networks, regions and their mean
    assert "DSC\ttiny-no_mamba\t" in (tmp_path / "out" / "tests.tsv").read_text()

    # The same command trains nothing again, other settings do.
    calls.clear()
    assert call(*arguments, *options) == 0
    assert not calls
    monkeypatch.setattr(tool, "run_bundle", lambda *_: pytest.fail("trained, as it should"))
    with pytest.raises(pytest.fail.Exception, match="as it should"):
        call(*arguments, *options, "--seed", 1)

    assert call(*arguments, "--networks", "unet") == 1
    assert "['unet'] are not in the study. Choose from tiny, tiny-no_mamba" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "none"], "none: not a study. Choose from hippocampus, subcortical, tumor, or give a JSON file"),
        (["--study", "tumor", "--", "--epochs"], "--epochs has no value"),
        (["--study", "tumor", "--threads", "0"], "--threads is 0; expected 1 or more"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, message, tmp_path, capsys):
    assert call("--output_dir", tmp_path / "out", *arguments) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_twin_lacks_what_its_name_says():
    for study in STUDIES.values():
        for name, network in study["networks"].items():
            original, _, lacks = name.partition("-")
            if lacks == "no_mamba":
                (key, twin), (_, whole) = (next(iter(n.items())) for n in (network, study["networks"][original]))
                assert key.startswith("network_def")
                assert twin == {**whole, "mixer": None}
    names = ("msd_kmamba_small", "msd_kmamba_small-no_mamba", "msd_kmamba_small-no_kan")
    whole, no_mamba, no_kan = (size("tumor", name, [32] * 3) for name in names)
    assert no_mamba < whole
    # A group-rational activation has few parameters of its own.
    assert no_kan[0] == pytest.approx(whole[0], rel=0.01)
    twin, original = (STUDIES["tumor"]["networks"][f"msd_kmamba_small{end}"] for end in ("-no_distillation", ""))
    less = {name: value for name, value in twin.items() if name not in original}
    assert twin == original | less
    assert less
    assert all(config_of("brats_multimodal", "train.json")[name] > 0 and value == 0 for name, value in less.items())


@pytest.mark.parametrize(("name", "roi_size"), [("hippocampus", [48, 48, 64]), ("subcortical", [32] * 3)])
def test_the_first_network_is_that_of_the_bundle_and_others_are_as_large(name, roi_size):
    study = STUDIES[name]
    train = config_of(study["bundle"], "train.json")
    first, *_ = study["networks"]
    assert study["networks"][first] == {"network_def": train["network_def"]}
    ours, _ = size(name, first, roi_size)
    for other in ("dynunet", "segresnet"):
        assert size(name, other, roi_size)[0] == pytest.approx(ours, rel=0.15), other


@pytest.mark.parametrize("name", STUDIES)
def test_options_of_a_study_are_those_of_its_bundle(name):
    study = STUDIES[name]
    train, evaluate = (config_of(study["bundle"], file) for file in ("train.json", "evaluate.json"))
    assert {*study["both"], *study["training"]} <= set(train)
    assert {*study["both"], *study["evaluation"]} <= {*train, *evaluate}


def test_a_window_has_its_position_embeddings():
    small, large = (size("subcortical", "tabsurfer_small", [side] * 3)[0] for side in (32, 48))
    assert small < large


def test_operations_of_a_scan_are_counted():
    with_mamba, without = (
        size("hippocampus", name, [16, 16, 16])[1] for name in ("medsegmamba", "medsegmamba-no_mamba")
    )
    assert with_mamba > without
    assert report.scan_flops((), (2, 8, 10, 4), (8, 4, 16)) == 9 * 2 * 8 * 10 * 4 * 16


def test_a_bundle_gets_the_options_as_they_are(monkeypatch, tmp_path):
    options = {
        "network_def#network": {"mixer": None},
        "split": "$(@cases, @cases[:1])",
        "resume": False,
        "roi": [64] * 3,
    }
    config = {
        "cases": "$[1, 2]",
        "network_def": {"network": {"mixer": "there"}},
        "run": ["$print('GOT', @network_def, @split, @resume, @roi)"],
    }
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.json").write_text(json.dumps(config))
    monkeypatch.setattr(monai_mamba, "bundle_root", lambda _: str(tmp_path))
    monkeypatch.setattr(tool, "run_measured", lambda command, threads: {"output": forked.run(command).stdout})
    output = tool.run_bundle("any", ["train.json"], options, 1)["output"]
    assert "GOT {'network': {'mixer': None}} ([1, 2], [1]) False [64, 64, 64]" in output

    def fail(command: list[str], threads: int) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(tool, "run_measured", fail)
    with pytest.raises(MonaiMambaError, match="ended with status 1"):
        tool.run_bundle("any", ["train.json"], {}, 1)


def test_two_subcortical_networks_are_trained_and_tested_on_folds_of_scans(monkeypatch, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in "abc":
        labels = save_head(scans / f"{name}_T1w.nii.gz", SHAPE, np.eye(3))
        aseg = nib.Nifti1Image(labels, centered_affine(SHAPE, np.eye(3)))
        nib.save(aseg, scans / f"{name}_desc-aseg_dseg.nii.gz")
    rows = [f"{name}\t{name}\t{fold}\t\t1" for name, fold in (("a", 0), ("b", 1), ("c", 1))]
    (tmp_path / "scans.tsv").write_text("\n".join(["subject\tperson\tfold\tmissing\tdraws", *rows]))
    calls: list = []
    channels = {"in_channels": 1, "out_channels": 36}
    tiny = {"_target_": "MedSegMamba", "channels": [8, 8, 8], "depth": 1, "d_state": 2, "stem_stride": 2, **channels}
    whole = {"_target_": "SegResNet", "init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1], **channels}
    networks = {name: {"network_def": network} for name, network in (("tiny", tiny), ("whole", whole))}
    study = save_study(tmp_path / "study.json", "subcortical", networks, iterations_per_epoch=2)
    monkeypatch.setattr(tool, "run_bundle", here(calls))
    arguments = ["--study", study, "--output_dir", tmp_path / "out", "--device", "cpu", "--threads", 1, "--"]
    options = [
        "--dataset_dir",
        scans,
        "--scan_table",
        tmp_path / "scans.tsv",
        "--epochs",
        1,
        "--roi_size",
        "[32,32,32]",
    ]
    assert call(*arguments, *options) == 0
    assert [config for config, _ in calls] == ["train.json", "evaluate.json"] * 2
    assert "1 test cases." in (tmp_path / "out" / "report.md").read_text()
    assert (tmp_path / "out" / "scores.tsv").read_text().count("\tLeft-Hippocampus\t") == 4 * 2  # metrics, networks
    metrics, cases = read_scores(tmp_path / "out" / "tiny" / "scores.tsv")
    assert (len(metrics), list(cases), len(cases["a", ""])) == (4, [("a", "")], 31)


def test_an_evaluation_does_not_get_options_of_the_training_and_a_result_is_kept(monkeypatch, tmp_path):
    calls: list = []
    study = {"bundle": "any", "both": {}, "training": {"epochs": 1}, "evaluation": {}}
    study["networks"] = {"own": {"network_def": {"size": [8, 8]}, "amp": False}}
    monkeypatch.setattr(tool, "run_bundle", lambda _, __, given, ___: calls.append(given) or {})
    options = argparse.Namespace(output_dir=tmp_path, device="cpu", threads=1)
    tool.train_and_evaluate(study, "own", options)
    training, evaluation = calls
    assert (training["seed"], training["epochs"], training["amp"]) == (0, 1, False)
    assert (evaluation["seed"], evaluation["amp"]) == (0, False)
    assert "epochs" not in evaluation

    (tmp_path / "own" / "scores.tsv").touch()
    tool.train_and_evaluate(study, "own", options)
    assert len(calls) == 2, "trained again with the same settings"
