"""Training and evaluation configs of the hippocampal bundle, on small ellipsoids and networks that take seconds."""

from __future__ import annotations

import csv
import functools
import json
import logging
from pathlib import Path

import hippocampus_phantom as phantom
import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import assert_every_process_prepares_alike
from monai.bundle import ConfigWorkflow
from stopped_training import assert_equal_files, run_until

from monai_mamba.errors import WeightsError
from monai_mamba.labels import LabelTable

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "hippocampal_subfields" / "configs"
PREDICTIONS = "predictions/imagesTr"  # in the folders of the images, because names may repeat
NETWORK = {"_target_": "MedSegMamba", "out_channels": 3, "channels": [8, 8, 8], "depth": 1, "d_state": 2}
OPTIONS = {
    "device": "cpu",
    "num_workers": 0,
    "roi_size": [16, 16, 24],
    "network_def": NETWORK,
    "iterations_per_epoch": 2,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Five crops in the layout of the Decathlon, each an ellipsoid with an anterior and a posterior half."""
    folder = tmp_path_factory.mktemp("crops")
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir()
    for number, scale in enumerate((1, 20, 300, 5, 2)):
        shape = np.array([14, 20, 12]) + number % 2
        index = np.moveaxis(np.indices(shape), 0, -1) - shape / 2
        inside = ((index / (4, 7, 3)) ** 2).sum(-1) < 1
        label = (inside * np.where(index[..., 1] >= 0, 1, 2)).astype(np.uint8)
        image = (scale * (50 + 40 * inside)).astype(np.float32)
        for kind, data in (("imagesTr", image), ("labelsTr", label)):
            nib.save(nib.Nifti1Image(data, np.eye(4)), folder / kind / f"hippocampus_{number + 1:03}.nii.gz")
    folds = [["hippocampus_001", "hippocampus_002"], ["hippocampus_003", "hippocampus_004"]]
    (folder / "folds.json").write_text(json.dumps({"folds": folds}))
    return folder


def workflow(dataset: Path, output_dir: Path, *overlays: str, **options: object) -> ConfigWorkflow:
    bundle = ConfigWorkflow(
        [str(CONFIGS / name) for name in ("train.json", *overlays)],
        workflow_type="train",
        logging_file=False,
        **{**OPTIONS, "folds": str(dataset / "folds.json"), **options},
        dataset_dir=str(dataset),
        output_dir=str(output_dir),
    )
    bundle.initialize()
    return bundle


def checkpoint(output_dir: Path) -> dict:
    return torch.load(output_dir / "checkpoint.pt", weights_only=True)


@pytest.mark.parametrize("overlays", [(), ("evaluate.json",)], ids=["train", "evaluate"])
def test_properties_are_complete(dataset, tmp_path, overlays):
    assert workflow(dataset, tmp_path, *overlays).check_properties() == []


def test_training_is_continued_where_it_stopped_and_validates_on_the_fold(dataset, tmp_path, caplog):
    with caplog.at_level("INFO"):
        bundle = workflow(dataset, tmp_path, epochs=1)
        bundle.run()
    assert "Label scheme head_tail" in caplog.text
    assert "1 of 5 cases are in no fold" in caplog.text
    metrics = bundle.parser.get_parsed_content("validate#evaluator").state.metrics
    assert {"val_mean_dice", "val_classes_lost"} <= set(metrics)
    first = checkpoint(tmp_path)
    assert first["trainer"] == {"epoch": 1, "iteration": 2}

    workflow(dataset, tmp_path, epochs=2).run()
    second = checkpoint(tmp_path)
    assert second["trainer"] == {"epoch": 2, "iteration": 4}
    assert {state["step"] for state in second["optimizer"]["state"].values() if "step" in state} == {4}
    assert any(not torch.equal(first["network"][name], second["network"][name]) for name in first["network"])
    weights = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all(torch.equal(weights[name], second["ema"][name]) for name in weights)


def test_a_training_that_was_stopped_equals_one_that_was_not(dataset, tmp_path):
    # The momentum of the average is still warming up when the training is stopped.
    options = {"dataset": dataset, "epochs": 4, "num_workers": 1, "val_interval": 2, "warmup": 7}
    workflow(output_dir=tmp_path / "whole", **options).run()
    run_until(workflow(output_dir=tmp_path / "parts", **options), iteration=5)  # in the third epoch
    assert checkpoint(tmp_path / "parts")["trainer"] == {"epoch": 2, "iteration": 4}
    workflow(output_dir=tmp_path / "parts", **options).run()
    assert_equal_files(tmp_path / "whole", tmp_path / "parts")


def test_all_cases_train_without_validation(dataset, tmp_path):
    bundle = workflow(dataset, tmp_path, fold="all", epochs=1)
    bundle.run()
    assert len(bundle.parser.get_parsed_content("train#dataset")) == 5
    assert (tmp_path / "model.pt").is_file()


def test_crops_of_any_intensity_scale_and_margin_fill_the_box_alike(dataset, tmp_path):
    bundle = workflow(dataset, tmp_path)
    for case in bundle.parser.get_parsed_content("validate#dataset"):
        assert (case["image"].min(), case["image"].max()) == (0, 1)
    data = bundle.parser.get_parsed_content("train#dataset")
    for case in [data[0] for _ in range(8)]:
        assert case["image"].shape == case["label"].shape == (1, 16, 16, 24)
        assert set(case["label"].unique().tolist()) == {0, 1, 2}


def test_evaluation_writes_the_scores_of_the_fold(dataset, tmp_path):
    options = {**phantom.save_weights(tmp_path), "network_def": {"_target_": "hippocampus_phantom.HalvesNetwork"}}
    del options["first_weights"]
    workflow(dataset, tmp_path / "scores", "evaluate.json", amp=False, save_predictions=True, **options).run()
    with (tmp_path / "scores" / "scores.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    names = ["Hippocampus-anterior", "Hippocampus-posterior"]
    assert [(row["subject"], row["name"]) for row in rows] == [
        (f"hippocampus_{number:03}", name) for number in (1, 2) for name in names
    ]
    assert all(float(row["dsc"]) == 1 and float(row["hd95_mm"]) == 0 for row in rows)
    assert (tmp_path / "scores" / "summary.tsv").is_file()
    assert_predictions_lie_on(dataset / "labelsTr", tmp_path / "scores", ["hippocampus_001", "hippocampus_002"])
    for path in (tmp_path / "scores" / PREDICTIONS).iterdir():
        label = dataset / "labelsTr" / path.name.replace("_dseg", "")
        np.testing.assert_array_equal(nib.load(path).dataobj, nib.load(label).dataobj)


@pytest.mark.parametrize("fold", [1, "all"])
def test_another_fold_is_not_scored_with_the_weights_that_were_trained_on_it(dataset, tmp_path, fold):
    with pytest.raises(RuntimeError) as caught:
        workflow(dataset, tmp_path, "evaluate.json", fold=fold).run()
    assert isinstance(caught.value.__cause__, WeightsError)
    assert f"model_fold{fold}.pt: this bundle ships no trained weights of this name" in str(caught.value.__cause__)


def assert_predictions_lie_on(labels: Path, scores: Path, names: list[str]) -> None:
    """Of each scan there is a label map on the scan's own grid."""
    assert sorted(path.name for path in (scores / PREDICTIONS).iterdir()) == [f"{name}_dseg.nii.gz" for name in names]
    for name in names:
        found, expected = nib.load(scores / PREDICTIONS / f"{name}_dseg.nii.gz"), nib.load(labels / f"{name}.nii.gz")
        assert found.shape == expected.shape
        assert found.get_data_dtype().kind == "u"
        np.testing.assert_allclose(found.affine, expected.affine, atol=1e-6)


@pytest.fixture(scope="module")
def subfields(tmp_path_factory) -> Path:
    """Three heads with 24 blocks as subfields, left and right, in two orientations and at 1 and 0.9 mm."""
    folder = tmp_path_factory.mktemp("fs60")
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir()
    table = LabelTable.load("hippocampus_fs60")
    for number, matrix in enumerate((np.eye(3), np.diag([-1.0, 1.0, 1.0]), 0.9 * np.eye(3))):
        labels = np.zeros((34, 30, 26), dtype=np.uint16)
        for entry in table.structures:
            side, row = divmod(entry.index - 1, 12)
            start = (6 + 14 * (side if matrix[0, 0] > 0 else 1 - side), 6 + 3 * (row // 2), 8 + 5 * (row % 2))
            labels[tuple(slice(a, a + b) for a, b in zip(start, (8, 3, 5), strict=True))] = entry.id
        image = (40 + 9 * np.searchsorted(table.ids, labels)).astype(np.float32)
        image[0] = 0
        affine = np.eye(4)
        affine[:3, :3] = matrix
        for kind, data in (("imagesTr", image), ("labelsTr", labels)):
            nib.save(nib.Nifti1Image(data, affine), folder / kind / f"head{number}.nii.gz")
    return folder


def test_fs60_trains_on_boxes_of_both_sides_and_is_evaluated(subfields, tmp_path):
    network = {**NETWORK, "out_channels": 25}
    options = {
        "network_def": network,
        "roi_size": [32, 16, 24],
        "epochs": 2,
        "iterations_per_epoch": "$len(@train_pairs)",
    }
    bundle = workflow(subfields, tmp_path, "fs60_train.json", **options)
    assert bundle.check_properties() == []
    bundle.run()
    cases = [*bundle.parser.get_parsed_content("train#dataset"), *bundle.parser.get_parsed_content("validate#dataset")]
    assert len(cases) == 3
    for case in cases:
        assert case["image"].shape == case["label"].shape == (1, 32, 16, 24)
        assert case["label"].unique().tolist() == list(range(25))
        # Where the label map says so lies the gray value of that subfield.
        values = [case["image"][case["label"] == index].mean().item() for index in range(1, 25)]
        assert np.corrcoef(values, range(1, 25))[0, 1] > 0.99
    assert checkpoint(tmp_path)["trainer"] == {"epoch": 2, "iteration": 4}
    assert "val_classes_lost" in bundle.parser.get_parsed_content("validate#evaluator").state.metrics

    options = {"network_def": network, "roi_size": [32, 16, 24], "weights": str(tmp_path / "model.pt")}
    options["save_predictions"] = True
    workflow(subfields, tmp_path / "scores", "fs60_train.json", "evaluate.json", **options).run()
    with (tmp_path / "scores" / "summary.tsv").open(newline="") as file:
        summary = list(csv.DictReader(file, delimiter="\t"))
    assert [row["id"] for row in summary[:-1]] == [
        str(entry.id) for entry in LabelTable.load("hippocampus_fs60").structures
    ]
    assert {row["n"] for row in summary} == {"1"}
    names = [Path(pair["image"]).name.removesuffix(".nii.gz") for pair in bundle.parser.get_parsed_content("val_pairs")]
    assert_predictions_lie_on(subfields / "labelsTr", tmp_path / "scores", names)
    found = nib.load(tmp_path / "scores" / PREDICTIONS / f"{names[0]}_dseg.nii.gz")
    assert set(np.unique(found.dataobj)) <= set(LabelTable.load("hippocampus_fs60").ids)


def test_data_are_prepared_alike_in_every_process(dataset, subfields, tmp_path):
    phantom.save_head(tmp_path / "head.nii.gz", (40, 44, 36), np.eye(3))
    files = {"input": str(tmp_path / "head.nii.gz"), "aseg": str(tmp_path / "aseg.nii.gz")}
    inference = ConfigWorkflow(str(CONFIGS / "inference.json"), workflow_type="infer", logging_file=False, **files)
    for bundle, name in (
        (workflow(dataset, tmp_path), "train#dataset"),
        (workflow(dataset, tmp_path, "evaluate.json"), "validate#dataset"),
        (workflow(subfields, tmp_path, "fs60_train.json", roi_size=[32, 16, 24]), "train#dataset"),
        (inference, "dataset"),
    ):
        assert_every_process_prepares_alike(bundle.parser.get_parsed_content(name))


def test_a_continued_training_says_what_is_other_than_before(dataset, tmp_path, caplog):
    train = functools.partial(workflow, dataset, tmp_path, learning_rate=0.001)
    train(epochs=1).run()
    caplog.set_level(logging.INFO, "monai_mamba")
    train(epochs=2, learning_rate=0.0004).run()
    assert "after epoch 1 of 2." in caplog.text
    assert "--learning_rate is now 0.0004 (before: 0.001)." in caplog.text
    group = checkpoint(tmp_path)["optimizer"]["param_groups"][0]
    assert group["initial_lr"] == 0.0004
    with pytest.raises(RuntimeError) as caught:
        train(epochs=3, network_def={**NETWORK, "depth": 2}).run()
    assert "another config or network (its options: " in str(caught.value.__cause__)
    assert "network_def {'_target_': 'MedSegMamba'" in str(caught.value.__cause__)
