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
from head_phantom import centered_affine, save_head
from studies import folds, report
from studies.study import Network, Plan
from tumor_phantom import save_case

import monai_mamba
from monai_mamba.errors import MonaiMambaError

SHAPE = (40, 44, 42)
TINY = {"_target_": "MSDKMamba", "channels": [8] * 5, "depths": [1] * 4, "d_state": 2}


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
        monai.bundle.run(config_file=files, logging_file=False, **given)
        return {"seconds": 10.0, "peak_GiB": 1.0}

    return run


def test_two_tumor_networks_are_trained_scored_and_compared(monkeypatch, tmp_path, capsys):
    for folder, count in (("training", 2), ("test", 1)):
        for number in range(count):
            name = f"BraTS-GLI-0000{number}-000"
            save_case(tmp_path / folder / name, name, "2023", label=True, center=np.array([4.0 - number, 3.0, 2.0]))
    calls: list = []
    study = tool.STUDIES["tumor"]
    networks = {
        "tiny": Network(TINY),
        "tiny-no_mamba": Network({**TINY, "mixer": None}, {"distillation_weight": 0.0}),
    }
    monkeypatch.setattr(study, "networks", networks)
    monkeypatch.setattr(tool, "run_bundle", here(calls))
    arguments = ["tumor", "--training", tmp_path / "training", "--test", tmp_path / "test"]
    arguments += ["--output_dir", tmp_path / "out", "--epochs", 1, "--window", 32, "--device", "cpu", "--threads", 1]
    assert call(*arguments) == 0
    assert [config for config, _ in calls] == ["train.json", "evaluate.json"] * 2
    for folder in networks:
        state = tool.torch.load(tmp_path / "out" / folder / "checkpoint.pt", weights_only=True)
        assert state["trainer"]["iteration"] == 2  # all cases of the training folder, none held out
        scores = study.read_scores(tmp_path / "out" / folder / "scores.tsv")
        assert scores.shape == (1, 3, 2)
        assert json.loads((tmp_path / "out" / folder / "run.json").read_text())["train"]["seconds"] == 10
    assert calls[2][1]["network_def#network"]["mixer"] is None
    assert calls[2][1]["distillation_weight"] == 0
    text = (tmp_path / "out" / "report.md").read_text()
    sizes = [report.network_size(study, name, [32] * 3) for name in networks]
    assert sizes[0][0] > sizes[1][0]
    for name, (parameters, operations) in zip(networks, sizes, strict=True):
        cells = (report.number(parameters, 1e6), report.number(operations, 1e9))
        assert f"| {name} | {cells[0]} | 32x32x32 | {cells[1]} | 10 | 5 | 1 | 10 |" in text
    assert "2 training cases, 1 test cases." in text
    assert "from scratch for 2 steps" in text
    table = (tmp_path / "out" / "scores.tsv").read_text().splitlines()
    assert table[0].split("\t") == ["metric", "network", "structure", "mean", "sd"]
    assert len(table) == 1 + 2 * 2 * 4  # metrics, networks, regions and their mean
    assert "DSC\ttiny-no_mamba\t" in (tmp_path / "out" / "tests.tsv").read_text()

    # The same command trains nothing again, other settings do.
    calls.clear()
    assert call(*arguments) == 0
    assert not calls
    monkeypatch.setattr(tool, "run_bundle", lambda *_: pytest.fail("trained, as it should"))
    with pytest.raises(pytest.fail.Exception, match="as it should"):
        call(*arguments, "--seed", 1)

    assert call(*arguments, "--window", 40) == 1
    assert "--window is 40" in capsys.readouterr().err
    assert call(*arguments, "--networks", "unet") == 1
    assert "['unet'] are not in the study. Choose from tiny, tiny-no_mamba" in capsys.readouterr().err


def test_a_twin_lacks_what_its_name_says():
    for study in tool.STUDIES.values():
        for name, network in study.networks.items():
            original, _, lacks = name.partition("-")
            if lacks == "no_mamba":
                assert network.definition == {**study.networks[original].definition, "mixer": None}
    study = tool.STUDIES["tumor"]
    names = ("msd_kmamba_small", "msd_kmamba_small-no_mamba", "msd_kmamba_small-no_kan")
    whole, no_mamba, no_kan = (report.network_size(study, name, [32] * 3) for name in names)
    assert no_mamba < whole
    # A group-rational activation has few parameters of its own.
    assert no_kan[0] == pytest.approx(whole[0], rel=0.01)
    twin = study.networks["msd_kmamba_small-no_distillation"]
    assert twin.definition == study.networks["msd_kmamba_small"].definition
    config = json.loads(Path(monai_mamba.bundle_root("brats_multimodal"), "configs", "train.json").read_text())
    assert all(config[name] > 0 and value == 0 for name, value in twin.options.items())


def test_networks_of_the_hippocampus_fit_the_bundle():
    study = tool.STUDIES["hippocampus"]
    config = json.loads(Path(monai_mamba.bundle_root(study.bundle), "configs", "train.json").read_text())
    assert study.definition("medsegmamba") == config["network_def"]
    plan = folds.make_plan(argparse.Namespace(dataset_dir="", fold=0, epochs=2), ([], []), (48, 48, 64), {}, {})
    assert list(plan.window) == config["roi_size"]
    assert config["iterations_per_epoch"] * 2 == plan.steps
    ours, *_ = report.network_size(study, "medsegmamba", plan.window)
    for name in ("dynunet", "segresnet"):
        assert report.network_size(study, name, plan.window)[0] == pytest.approx(ours, rel=0.15), name


def test_operations_of_a_scan_are_counted():
    study = tool.STUDIES["hippocampus"]
    with_mamba, without = (
        report.network_size(study, name, [16, 16, 16])[1] for name in ("medsegmamba", "medsegmamba-no_mamba")
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


def test_two_subcortical_networks_are_trained_and_tested_on_folds_of_scans(monkeypatch, tmp_path, capsys):
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in "abc":
        labels = save_head(scans / f"{name}_T1w.nii.gz", SHAPE, np.eye(3))
        aseg = nib.Nifti1Image(labels, centered_affine(SHAPE, np.eye(3)))
        nib.save(aseg, scans / f"{name}_desc-aseg_dseg.nii.gz")
    rows = [f"{name}\t{name}\t{fold}\t\t1" for name, fold in (("a", 0), ("b", 1), ("c", 1))]
    (tmp_path / "scans.tsv").write_text("\n".join(["subject\tperson\tfold\tmissing\tdraws", *rows]))
    calls: list = []
    study = tool.STUDIES["subcortical"]
    tiny = {"_target_": "MedSegMamba", "channels": [8, 8, 8], "depth": 1, "d_state": 2, "stem_stride": 2}
    whole = {"_target_": "SegResNet", "init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}
    small = {"roi_size": [32, 32, 32]}
    monkeypatch.setattr(study, "networks", {"tiny": Network(tiny, small), "whole": Network(whole, small)})
    monkeypatch.setattr(folds, "STEPS_PER_EPOCH", 2)
    monkeypatch.setattr(tool, "run_bundle", here(calls))
    arguments = ["subcortical", "--dataset_dir", scans, "--scan_table", tmp_path / "scans.tsv", "--epochs", 1]
    arguments += ["--output_dir", tmp_path / "out", "--device", "cpu", "--threads", 1]
    assert call(*arguments) == 0
    assert [config for config, _ in calls] == ["train.json", "evaluate.json"] * 2
    text = (tmp_path / "out" / "report.md").read_text()
    assert "2 training cases, 1 test cases." in text
    assert (tmp_path / "out" / "scores.tsv").read_text().count("\tLeft-Hippocampus\t") == 4 * 2  # metrics, networks
    assert study.read_scores(tmp_path / "out" / "tiny" / "scores.tsv").shape == (1, 31, 4)

    assert call(*arguments, "--fold", 3) == 1
    assert "--fold is 3: it holds 0 of 3 scans" in capsys.readouterr().err


def test_networks_of_subcortical_structures_fit_the_bundle(monkeypatch):
    study = tool.STUDIES["subcortical"]
    train, evaluate = (
        json.loads(Path(monai_mamba.bundle_root(study.bundle), "configs", name).read_text())
        for name in ("train.json", "evaluate.json")
    )
    assert study.definition("medsegmamba_small") == train["network_def"]
    for name in ("find_pairs", "describe_pairs", "split_fold"):
        monkeypatch.setattr(folds, name, lambda *_: ([], []))
    plan = study.plan(argparse.Namespace(dataset_dir="scans", scan_table="scans.tsv", fold=0, epochs=1))
    assert set(plan.training) <= set(train)
    assert set(plan.evaluation) <= {*train, *evaluate}
    assert train["roi_size"] == list(plan.window)
    small, large = (report.network_size(study, "tabsurfer_small", [size] * 3)[0] for size in (32, 48))
    assert small < large  # one position embedding for each token of the window
    ours, _ = report.network_size(study, "medsegmamba_small", [32] * 3)
    for name in ("dynunet", "segresnet"):
        assert report.network_size(study, name, [32] * 3)[0] == pytest.approx(ours, rel=0.15), name


def test_an_evaluation_does_not_get_options_of_the_training_and_a_result_is_kept(monkeypatch, tmp_path):
    calls: list = []
    study = tool.STUDIES["hippocampus"]
    monkeypatch.setattr(study, "networks", {"own": Network(TINY | {"size": (8, 8)}, {"amp": False})})
    monkeypatch.setattr(tool, "run_bundle", lambda _, __, given, ___: calls.append(given) or {})
    plan = Plan({"epochs": 1}, {}, 1, (), {}, "")
    options = argparse.Namespace(output_dir=tmp_path, device="cpu", seed=0, threads=1)
    tool.train_and_evaluate(study, plan, "own", options)
    training, evaluation = calls
    assert (training["seed"], training["epochs"], training["amp"]) == (0, 1, False)
    assert (evaluation["seed"], evaluation["amp"]) == (0, False)
    assert "epochs" not in evaluation

    (tmp_path / "own" / "scores.tsv").touch()
    tool.train_and_evaluate(study, plan, "own", options)
    assert len(calls) == 2, "trained again with the same settings"
