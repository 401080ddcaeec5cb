"""Training and evaluation configs of the hippocampal bundle, on small ellipsoids and networks that take seconds."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "hippocampal_subfields" / "configs"
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
        label = (inside * np.where(index[..., 1] > 0, 1, 2)).astype(np.uint8)
        image = (scale * (50 + 40 * inside + 5 * np.random.RandomState(number).rand(*shape))).astype(np.float32)
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


def test_properties_are_complete(dataset, tmp_path):
    assert workflow(dataset, tmp_path).check_properties() == []


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
    assert second["optimizer"]["state"][0]["step"] == 4
    assert any(not torch.equal(first["network"][name], second["network"][name]) for name in first["network"])
    weights = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all(torch.equal(weights[name], second["ema"][name]) for name in weights)


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
