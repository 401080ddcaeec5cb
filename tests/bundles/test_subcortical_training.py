"""Training and evaluation configs of the subcortical bundle, on phantoms and with networks that take seconds."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import assert_every_process_prepares_alike, train_as_two_processes
from head_phantom import (
    LEFT,
    LEFT_INDEX,
    RIGHT,
    RIGHT_INDEX,
    IntensityNetwork,
    centered_affine,
    save_head,
    save_label_maps,
)
from monai.bundle import ConfigWorkflow
from stopped_training import assert_equal_files, run_until

from monai_mamba.errors import InputError, MonaiMambaError, WeightsError

TESTS = Path(__file__).resolve().parents[1]
CONFIGS = TESTS.parent / "bundles" / "subcortical" / "configs"
SHAPE, ROI, STEPS = (40, 44, 42), [16, 16, 16], 3
NETWORK = {
    "_target_": "MedSegMamba",
    "out_channels": 36,
    "channels": [8, 8, 8],
    "depth": 1,
    "d_state": 2,
    "stem_stride": 2,
}
OPTIONS = {"device": "cpu", "num_workers": 0, "roi_size": ROI, "iterations_per_epoch": 3, "network_def": NETWORK}
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


@pytest.fixture(scope="module")
def label_maps(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    save_label_maps(folder)
    return folder


def workflow(*configs: str, **options: object) -> ConfigWorkflow:
    files = [str(CONFIGS / name) for name in configs]
    return ConfigWorkflow(files, workflow_type="train", logging_file=False, **options)


def run(*configs: str, **options: object) -> ConfigWorkflow:
    bundle = workflow(*configs, **options)
    bundle.initialize()
    bundle.run()
    return bundle


def train(output_dir: Path, epochs: int, **options: object) -> ConfigWorkflow:
    common = {"output_dir": str(output_dir), "epochs": epochs}
    return run("train.json", **{**OPTIONS, **common, **options})


def checkpoint(output_dir: Path) -> dict:
    return torch.load(output_dir / "checkpoint.pt", weights_only=True)


def state(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "model.pt", weights_only=True)


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


@pytest.mark.parametrize("source", ["scans", "maps"])
def test_training_changes_the_weights_and_is_continued_where_it_stopped(source, dataset, label_maps, tmp_path):
    sources = {
        "dataset_dir": str(dataset) if source == "scans" else None,
        "label_maps": str(label_maps) if source == "maps" else None,
        "val_interval": 2,
        "overlap": 0.0,
    }
    train(tmp_path, epochs=1, **sources)
    first = checkpoint(tmp_path)
    assert first["trainer"] == {"epoch": 1, "iteration": STEPS}
    assert all(torch.equal(value, first["ema"][name]) for name, value in state(tmp_path).items())
    bundle = train(tmp_path, epochs=2, **sources)
    second = checkpoint(tmp_path)
    assert second["trainer"] == {"epoch": 2, "iteration": 2 * STEPS}
    assert {entry["step"] for entry in second["optimizer"]["state"].values() if "step" in entry} == {2 * STEPS}
    assert any(not torch.equal(value, second["network"][name]) for name, value in first["network"].items())
    assert bundle.parser.get_parsed_content("train#trainer").state.metrics["train_mean_loss"] > 0
    if source != "maps":  # one person is held out
        metrics = bundle.parser.get_parsed_content("validate#evaluator").state.metrics
        assert metrics.keys() == {"val_mean_dice", "val_volume_similarity"}


def test_the_table_of_scans_says_who_is_held_out_and_what_maps_lack(dataset, tmp_path):
    table = tmp_path / "scans.tsv"
    table.write_text(
        "subject\tperson\tfold\tmissing\tdraws\nsub-0\ta\t0\t24\t1\nsub-1\tb\t1\t24\t1\nsub-2\tc\t1\t24\t2\n"
    )
    bundle = workflow(
        "train.json", **OPTIONS, dataset_dir=str(dataset), output_dir=str(tmp_path), scan_table=str(table), fold=0
    )
    bundle.initialize()
    names = [
        [pair["subject"] for pair in bundle.parser.get_parsed_content(f"{part}_pairs")] for part in ("train", "val")
    ]
    assert names == [["sub-1", "sub-2"], ["sub-0"]]
    assert list(bundle.parser.get_parsed_content("train#sampler").weights) == pytest.approx([1 / 3, 2 / 3])
    window = bundle.parser.get_parsed_content("train#dataset")[0]
    background_or_csf = 1 | 1 << 14
    assert background_or_csf in window["label"].unique().tolist()
    assert 1 not in window["label"].unique().tolist()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_training_that_was_stopped_equals_one_that_was_not(dataset, label_maps, tmp_path, num_workers, capfd):
    network = {**NETWORK, "dropout_rate": 0.2, "drop_path_rate": 0.3}
    options = {**OPTIONS, "dataset_dir": str(dataset), "num_workers": num_workers, "network_def": network}
    options |= {"label_maps": str(label_maps), "synthetic_fraction": 0.5}
    options |= {"epochs": 4, "val_interval": 4, "overlap": 0.0}
    run("train.json", output_dir=str(tmp_path / "whole"), **options)
    stopped = workflow("train.json", output_dir=str(tmp_path / "parts"), **options)
    stopped.initialize()
    capfd.readouterr()
    run_until(stopped, iteration=2 * STEPS + 1)  # in the third epoch
    kept = f"2 of 4 epochs are complete; the same command continues from {tmp_path / 'parts' / 'checkpoint.pt'}."
    assert capfd.readouterr().err.splitlines()[-1] == f"Stopped by SIGTERM. {kept}"
    assert checkpoint(tmp_path / "parts")["trainer"] == {"epoch": 2, "iteration": 2 * STEPS}
    run("train.json", output_dir=str(tmp_path / "parts"), **options)
    assert_equal_files(tmp_path / "whole", tmp_path / "parts")


def test_data_are_prepared_alike_in_every_process(dataset, label_maps, tmp_path):
    options = {**OPTIONS, "dataset_dir": str(dataset), "label_maps": str(label_maps), "output_dir": str(tmp_path)}
    training = workflow("train.json", **options).parser
    evaluation = workflow("train.json", "evaluate.json", **options).parser
    inference = workflow("inference.json", input=str(dataset), output_dir=str(tmp_path)).parser
    for parser, name in ((training, "train#windows"), (evaluation, "validate#dataset"), (inference, "dataset")):
        assert_every_process_prepares_alike(parser.get_parsed_content(name))


def test_a_loss_that_is_not_finite_stops_the_training_and_leaves_its_files(label_maps, tmp_path, caplog):
    options = {"dataset_dir": None, "label_maps": str(label_maps)}
    train(tmp_path, epochs=1, **options)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.pt")}
    assert set(before) == {"checkpoint.pt", "model.pt"}
    bundle = workflow("train.json", **OPTIONS, **options, output_dir=str(tmp_path), epochs=2)
    bundle.initialize()
    layers = dict(bundle.parser.get_parsed_content("network_def").named_modules())
    name = next(name for name, layer in layers.items() if isinstance(layer, torch.nn.LayerNorm))
    calls = iter(range(1000))
    layers[name].register_forward_hook(lambda layer, args, output: output / 0 if next(calls) else output)
    with pytest.raises(RuntimeError) as caught:
        bundle.run()
    message = str(caught.value.__cause__)
    assert isinstance(caught.value.__cause__, MonaiMambaError)
    assert re.search(r"in iteration 5 \(epoch 2\), scan .*map_[012]\.nii\.gz", message), message
    assert f"the output of layer '{name}' (LayerNorm) is the first that is not finite" in message
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.pt")} == before
    assert message not in caplog.text  # it is said once, at the end of the program


def test_training_starts_from_given_weights(dataset, tmp_path):
    train(tmp_path / "first", epochs=1, dataset_dir=str(dataset))
    given = tmp_path / "first" / "model.pt"
    train(tmp_path / "second", epochs=1, dataset_dir=str(dataset), initial_weights=str(given), learning_rate=0.0)
    torch.testing.assert_close(state(tmp_path / "second"), state(tmp_path / "first"), rtol=1e-5, atol=1e-6)


def test_a_network_without_sub_voxels_trains_too(dataset, tmp_path):
    network = {"_target_": "tabsurfer_small", "out_channels": 36, "img_size": [16, 16, 16]}
    train(tmp_path, epochs=1, dataset_dir=str(dataset), network_def=network)
    assert (tmp_path / "model.pt").is_file()


def test_tensorboard_files_lie_beside_the_checkpoint(dataset, tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed (extra 'tracking')")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path, epochs=2, dataset_dir=str(dataset), val_interval=2, overlap=0.0)
    assert list(tmp_path.glob("events.out.tfevents.*"))
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("train_loss")] == list(range(1, 2 * STEPS + 1))
    assert [event.step for event in events.Scalars("train_mean_loss")] == [1, 2]
    assert [event.step for event in events.Scalars("val_mean_dice")] == [2]


def test_mlflow_follows_loss_learning_rate_and_validation(dataset, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed (extra 'tracking')")
    bundle = train(tmp_path, epochs=2, dataset_dir=str(dataset), val_interval=2, overlap=0.0, tracking="mlflow")
    client = mlflow.MlflowClient(bundle.parser.get_parsed_content("tracking_uri"))
    (experiment,) = [item for item in client.search_experiments() if item.name == "monai_experiment"]
    runs = client.search_runs(experiment.experiment_id)
    metrics = {name: run.info.run_id for run in runs for name in run.data.metrics}
    losses = client.get_metric_history(metrics["train_loss"], "train_loss")
    assert [entry.step for entry in losses] == list(range(1, 2 * STEPS + 1))
    assert all(0 < entry.value < 10 for entry in losses)
    assert "lr_group_0" in metrics
    assert [entry.step for entry in client.get_metric_history(metrics["val_mean_dice"], "val_mean_dice")] == [2]
    assert list(tmp_path.glob("config_*.json"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset_dir": "nothing"}, "there is no such folder"),
        ({"dataset_dir": "."}, "no image and no label map found"),
        ({"dataset_dir": None, "label_maps": "nothing"}, "there is no such folder"),
        ({"dataset_dir": None}, "Nothing to train on"),
        ({"synthetic_fraction": 1.5}, "--synthetic_fraction is 1.5"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError) as caught:
        train(tmp_path / "out", epochs=1, **options)
    cause = caught.value
    while cause.__cause__ is not None:
        cause = cause.__cause__
    assert isinstance(cause, InputError)
    assert message in str(cause)


def with_folds(dataset: Path, folder: Path) -> dict[str, str]:
    """Options: each of the three persons is a fold."""
    rows = ["subject\tperson\tfold\tmissing\tdraws", *(f"sub-{i}\t{i}\t{i}\t\t1" for i in range(3))]
    (folder / "scans.tsv").write_text("\n".join(rows))
    return {"dataset_dir": str(dataset), "scan_table": str(folder / "scans.tsv")}


def test_evaluation_of_a_fold_leaves_out_what_its_weights_were_trained_on(dataset, tmp_path):
    options = {**OPTIONS, **with_folds(dataset, tmp_path), "output_dir": str(tmp_path), "fold": 1}
    parser = workflow("train.json", "evaluate.json", **options).parser
    assert [pair["subject"] for pair in parser.get_parsed_content("validate#dataset").data] == ["sub-1"]


def test_a_training_is_not_continued_for_another_fold(dataset, tmp_path):
    options = {**with_folds(dataset, tmp_path), "epochs": 1, "val_interval": 2}
    train(tmp_path, fold=0, **options)
    with pytest.raises(RuntimeError) as caught:
        train(tmp_path, fold=1, **options)
    assert isinstance(caught.value.__cause__, InputError)
    assert "has learned from 1 scans that --fold 1 holds out, first sub-1" in str(caught.value.__cause__)


def test_evaluation_without_weights_says_what_to_do(dataset, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        run("train.json", "evaluate.json", dataset_dir=str(dataset), output_dir=str(tmp_path), weights="absent.pt")
    assert isinstance(caught.value.__cause__, WeightsError)
    assert "absent.pt: there is no weights file" in str(caught.value.__cause__)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_evaluation_of_a_network_that_knows_the_labels(dataset, tmp_path):
    torch.save(IntensityNetwork().state_dict(), tmp_path / "weights.pt")
    run(
        "train.json",
        "evaluate.json",
        dataset_dir=str(dataset),
        output_dir=str(tmp_path / "out"),
        weights=str(tmp_path / "weights.pt"),
        network_def={"_target_": "head_phantom.IntensityNetwork"},
        mirror=False,
        whole_brain=True,
        labels="$monai_mamba.labels.LabelTable.load('subcortical')",
        roi_size=[64, 64, 64],
        num_workers=0,
        device="cpu",
    )
    scores = rows(tmp_path / "out" / "scores.tsv")
    assert [row["subject"] for row in scores[::35]] == ["sub-0", "sub-1", "sub-2"]
    for row in scores:
        if int(row["id"]) in (LEFT, RIGHT):
            # Both maps reach the conformed grid without interpolation; the network itself is exact.
            assert float(row["dsc"]) > 0.99, row
            assert float(row["vs"]) > 0.99, row
            assert float(row["assd_mm"]) < 0.05, row
        else:  # the network calls the rest white matter, which is not in the reference
            assert row["dsc"] == ("0" if row["id"] == "2" else "n/a"), row
    summary = {row["id"]: row for row in rows(tmp_path / "out" / "summary.tsv") if row["id"] != "n/a"}
    assert summary[str(LEFT)]["n"] == "3"
    assert summary["10"]["n_absent"] == "3"
    assert "conformed grid" in json.loads((tmp_path / "out" / "scores.json").read_text())["grid"]


def test_two_processes_train_one_network(dataset, tmp_path):
    options = {
        **OPTIONS,
        "dataset_dir": str(dataset),
        "epochs": 2,
        "val_interval": 2,
        "overlap": 0.0,
        "output_dir": tmp_path / "two",
    }
    files = [CONFIGS / "train.json", CONFIGS / "multi_gpu_train.json"]
    outputs = train_as_two_processes(files, tmp_path, **options)
    assert checkpoint(tmp_path / "two")["trainer"] == {"epoch": 2, "iteration": 2 * STEPS}
    assert not any(name.startswith("module.") for name in state(tmp_path / "two"))
    assert outputs[0].count("val_mean_dice") > outputs[1].count("val_mean_dice")  # the first process reports
