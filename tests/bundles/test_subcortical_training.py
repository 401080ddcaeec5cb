"""Training and evaluation configs of the subcortical bundle, on phantoms and with networks that take seconds."""

from __future__ import annotations

import csv
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from head_phantom import LEFT, LEFT_INDEX, RIGHT, RIGHT_INDEX, IntensityNetwork, centered_affine, save_head
from monai.bundle import ConfigWorkflow
from stopped_training import assert_equal_files, run_until

from monai_mamba import MedSegMamba
from monai_mamba.errors import InputError, WeightsError

TESTS = Path(__file__).resolve().parents[1]
CONFIGS = TESTS.parent / "bundles" / "subcortical" / "configs"
SHAPE, ROI, WINDOWS = (40, 44, 42), [16, 16, 16], 8
NETWORK = {"_target_": "MedSegMamba", "out_channels": 36, "channels": [8, 16, 16], "depth": 1, "d_state": 2}
OPTIONS = {"device": "cpu", "num_workers": 0, "roi_size": ROI, "positions": 2, "network_def": NETWORK}
MATRICES = (np.eye(3), np.diag([-1.0, 1.0, 1.0]), np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))

pytestmark = pytest.mark.filterwarnings("ignore:All pairs belong to one person")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Three persons, stored in three orientations."""
    folder = tmp_path_factory.mktemp("pairs")
    for number, matrix in enumerate(MATRICES):
        labels = save_head(folder / f"sub-{number}_T1w.nii.gz", SHAPE, matrix)
        aseg = nib.Nifti1Image(labels, centered_affine(SHAPE, matrix))
        nib.save(aseg, folder / f"sub-{number}_desc-aseg_dseg.nii.gz")
    return folder


def workflow(*configs: str, **options: object) -> ConfigWorkflow:
    files = [str(CONFIGS / name) for name in configs]
    return ConfigWorkflow(files, workflow_type="train", logging_file=False, **options)


def run(*configs: str, **options: object) -> ConfigWorkflow:
    bundle = workflow(*configs, **options)
    bundle.initialize()
    bundle.run()
    return bundle


def train(dataset: Path, output_dir: Path, epochs: int, **options: object) -> ConfigWorkflow:
    common = {"dataset_dir": str(dataset), "output_dir": str(output_dir), "epochs": epochs}
    return run("train.json", **{**OPTIONS, **common, **options})


def checkpoint(output_dir: Path) -> dict:
    return torch.load(output_dir / "checkpoint.pt", weights_only=True)


def steps(state: dict) -> set[int]:
    """How often the optimizer has moved each parameter."""
    return {int(entry["step"]) for entry in state["optimizer"]["state"].values()}


@pytest.mark.parametrize("configs", [("train.json",), ("train.json", "evaluate.json")])
def test_configs_have_all_properties_of_a_bundle(configs, tmp_path):
    bundle = workflow(*configs, device="cpu", output_dir=str(tmp_path))
    bundle.initialize()
    assert bundle.check_properties() == []


def test_training_sees_images_as_inference_does():
    inference, training = (json.loads((CONFIGS / name).read_text()) for name in ("inference.json", "train.json"))
    image_part = inference["preprocessing"]["transforms"]
    assert training["train"]["deterministic_transforms"][: len(image_part)] == image_part


def test_labels_lie_where_the_image_does_whatever_the_spacing(tmp_path):
    matrix = np.array([[0.0, 1.3, 0.0], [-0.8, 0.0, 0.0], [0.0, 0.0, 0.9]])
    shape = (50, 40, 48)
    labels = save_head(tmp_path / "sub-1_T1w.nii.gz", shape, matrix)
    affine = centered_affine(shape, matrix)
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / "sub-1_desc-aseg_dseg.nii.gz")
    bundle = workflow("train.json", dataset_dir=str(tmp_path), output_dir=str(tmp_path))
    case = bundle.parser.get_parsed_content("validate#dataset")[0]
    assert case["label"].shape == case["image"].shape
    torch.testing.assert_close(case["label"].affine, case["image"].affine)
    for index, label in ((LEFT_INDEX, LEFT), (RIGHT_INDEX, RIGHT)):
        found = center(case["label"][0].numpy() == index, case["label"].affine.numpy())
        # Nearest neighbor rounds borders unevenly, which moves the center of a ball of 14 mm by less than 0.25 mm; a
        # grid that is off by half a voxel would move it by 0.4 mm or more.
        assert np.abs(found - center(labels == label, affine)).max() < 0.25


def center(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Center of mass in mm."""
    return affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]


def test_training_makes_one_step_per_scan_resumes_and_learns(dataset, tmp_path):
    options = {"learning_rate": 0.02, "restart_epochs": 20, "ce_epochs": 2, "ce_weight_after": 0.5}
    bundle = train(dataset, tmp_path, epochs=1, **options)
    first = checkpoint(tmp_path)
    loss = bundle.parser.get_parsed_content("train#trainer").state.metrics["train_mean_loss"]
    weights = torch.load(tmp_path / "model.pt", weights_only=True)
    MedSegMamba(**{key: value for key, value in NETWORK.items() if key != "_target_"}).load_state_dict(weights)
    assert first["trainer"] == {"epoch": 1, "iteration": 2 * WINDOWS}
    assert steps(first) == {2}

    bundle = train(dataset, tmp_path, epochs=2, **options)
    second = checkpoint(tmp_path)
    assert second["trainer"] == {"epoch": 2, "iteration": 4 * WINDOWS}
    assert steps(second) == {4}
    assert second["lr_scheduler"]["last_epoch"] == 2
    assert second["best_weights"]["best"] >= first["best_weights"]["best"]
    assert bundle.parser.get_parsed_content("train#trainer").state.metrics["train_mean_loss"] < loss

    train(dataset, tmp_path, epochs=1, resume=False, **options)
    assert checkpoint(tmp_path)["trainer"]["epoch"] == 1


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_training_that_was_stopped_equals_one_that_was_not(dataset, tmp_path, num_workers):
    network = {**NETWORK, "dropout_rate": 0.2, "drop_path_rate": 0.3}
    options = {**OPTIONS, "dataset_dir": str(dataset), "num_workers": num_workers, "network_def": network}
    options |= {"epochs": 4, "positions": 1, "val_interval": 4, "overlap": 0.0}
    run("train.json", output_dir=str(tmp_path / "whole"), **options)
    stopped = workflow("train.json", output_dir=str(tmp_path / "parts"), **options)
    stopped.initialize()
    run_until(stopped, iteration=5)  # in the third epoch
    assert checkpoint(tmp_path / "parts")["trainer"] == {"epoch": 2, "iteration": 4}
    run("train.json", output_dir=str(tmp_path / "parts"), **options)
    assert_equal_files(tmp_path / "whole", tmp_path / "parts")


def test_tensorboard_files_lie_beside_the_checkpoint(dataset, tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed (extra 'tracking')")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(dataset, tmp_path, epochs=2, positions=1, val_interval=2, overlap=0.0)
    assert list(tmp_path.glob("events.out.tfevents.*"))
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("train_loss")] == [1, 2, 3, 4]
    assert [event.step for event in events.Scalars("train_mean_loss")] == [1, 2]
    assert [event.step for event in events.Scalars("val_mean_dice")] == [2]


def test_mlflow_follows_loss_learning_rate_and_validation(dataset, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed (extra 'tracking')")
    bundle = train(dataset, tmp_path, epochs=2, positions=1, val_interval=2, overlap=0.0, tracking="mlflow")
    client = mlflow.MlflowClient(bundle.parser.get_parsed_content("tracking_uri"))
    (experiment,) = [item for item in client.search_experiments() if item.name == "monai_experiment"]
    runs = client.search_runs(experiment.experiment_id)
    metrics = {name: run.info.run_id for run in runs for name in run.data.metrics}
    losses = client.get_metric_history(metrics["train_loss"], "train_loss")
    assert [entry.step for entry in losses] == [1, 2, 3, 4]
    assert all(0 < entry.value < 10 for entry in losses)
    assert "lr_group_0" in metrics
    assert [entry.step for entry in client.get_metric_history(metrics["val_mean_dice"], "val_mean_dice")] == [2]
    assert list(tmp_path.glob("config_*.json"))


def test_missing_pairs_are_refused(tmp_path):
    with pytest.raises(RuntimeError) as caught:
        train(tmp_path, tmp_path / "out", epochs=1)
    cause = caught.value
    while cause.__cause__ is not None:
        cause = cause.__cause__
    assert isinstance(cause, InputError)
    assert "no image and no label map found" in str(cause)


def test_evaluation_without_weights_says_what_to_do(dataset, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        run("train.json", "evaluate.json", dataset_dir=str(dataset), output_dir=str(tmp_path), weights="absent.pt")
    assert isinstance(caught.value.__cause__, WeightsError)
    assert "absent.pt: there is no weights file" in str(caught.value.__cause__)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_evaluation_from_the_command_line(dataset, tmp_path):
    torch.save(IntensityNetwork().state_dict(), tmp_path / "weights.pt")
    options = {
        "config_file": str([str(CONFIGS / "train.json"), str(CONFIGS / "evaluate.json")]),
        "dataset_dir": dataset,
        "output_dir": tmp_path / "out",
        "weights": tmp_path / "weights.pt",
        "network_def": "{'_target_': 'head_phantom.IntensityNetwork'}",
        "mirror": "False",
        "labels": "$monai_mamba.labels.LabelTable.load('subcortical')",
        "roi_size": "[48, 48, 48]",
        "num_workers": 0,
        "device": "cpu",
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "monai.bundle", "run", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scores = rows(tmp_path / "out" / "scores.tsv")
    assert [row["subject"] for row in scores[::31]] == ["sub-0", "sub-1", "sub-2"]
    for row in scores:
        if int(row["id"]) in (LEFT, RIGHT):
            # Both maps reach the conformed grid without interpolation; the network itself is exact.
            assert float(row["dsc"]) > 0.99, row
            assert float(row["vs"]) > 0.99, row
            assert float(row["assd_mm"]) < 0.05, row
        else:
            assert row["dsc"] == "n/a", row
    summary = {row["id"]: row for row in rows(tmp_path / "out" / "summary.tsv") if row["id"] != "n/a"}
    assert summary[str(LEFT)]["n"] == "3"
    assert summary["10"]["n_absent"] == "3"
    assert "conformed grid" in json.loads((tmp_path / "out" / "scores.json").read_text())["grid"]


def test_two_processes_equal_one_with_twice_the_batch(dataset, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # SGD, because Adam divides by the gradient's size and so magnifies what rounding leaves of gradients that vanish.
    common = {
        **OPTIONS,
        "dataset_dir": str(dataset),
        "epochs": 2,
        "val_interval": 2,
        "overlap": 0.0,
        "amp": False,
        "network_def": {**NETWORK, "dropout_rate": 0.0, "drop_path_rate": 0.0},
        "optimizer": {"_target_": "torch.optim.SGD", "params": "$@network.parameters()", "lr": 0.1},
    }
    options = {
        **common,
        "config_file": str([str(CONFIGS / "train.json"), str(CONFIGS / "multi_gpu_train.json")]),
        "output_dir": tmp_path / "two",
        "device": "$torch.device('cpu')",
        "finalize": [
            "$print('WEIGHTS', sum(float(p.double().abs().sum()) for p in @network_def.parameters()))",
            "$dist.destroy_process_group()",
        ],
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    processes = []
    for rank in range(2):
        environment = {
            **os.environ,
            **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": ""},
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        }
        command = [sys.executable, "-m", "monai.bundle", "run", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        processes.append(subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes))
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    sums = [re.search(r"WEIGHTS (\d\S+)", output).group(1) for output in outputs]
    assert sums[0] == sums[1]
    assert checkpoint(tmp_path / "two")["trainer"] == {"epoch": 2, "iteration": 2 * WINDOWS}
    two = torch.load(tmp_path / "two" / "model.pt", weights_only=True)
    assert not any(name.startswith("module.") for name in two)

    bundle = workflow("train.json", output_dir=str(tmp_path / "one"), **common)
    bundle.parser["train#trainer#accumulation_steps"] = 2 * WINDOWS  # both scans in one step
    bundle.initialize()
    network = bundle.parser.get_parsed_content("network_def")
    start = {name: value.clone() for name, value in network.state_dict().items()}
    bundle.run()
    one = torch.load(tmp_path / "one" / "model.pt", weights_only=True)
    # The gradients of 16 windows are summed up in another order, in float32.
    moved = max((one[name] - start[name]).abs().max() for name in one)
    difference = max((one[name] - two[name]).abs().max() for name in one)
    assert moved > 1e-2, moved
    assert difference < 1e-5, (difference, moved)
