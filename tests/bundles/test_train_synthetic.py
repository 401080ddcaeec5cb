"""Training from label maps alone: the real config, resumed, its weights used for inference."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from head_phantom import save_label_maps
from monai.bundle import ConfigWorkflow
from stopped_training import assert_equal_files, run_until

from monai_mamba.engines.subvoxel_batch import PrepareSubvoxelBatch
from monai_mamba.errors import InputError, MonaiMambaError

CONFIG = Path(__file__).resolve().parents[2] / "bundles" / "subcortical" / "configs" / "train_synthetic.json"
NETWORK = {"_target_": "MedSegMamba", "out_channels": 36, "channels": [8, 8, 8], "depth": 1, "d_state": 2}
OPTIONS = {"device": "cpu", "num_workers": 0, "roi_size": [16, 16, 16], "iterations_per_epoch": 3, "held_out": 1}


@pytest.fixture(scope="module")
def label_maps(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    save_label_maps(folder)
    return folder


def workflow(dataset_dir: Path, output_dir: Path, epochs: int, **options: object) -> ConfigWorkflow:
    bundle = ConfigWorkflow(
        str(CONFIG),
        workflow_type="train",
        logging_file=False,
        **{**OPTIONS, "network_def": {**NETWORK, "stem_stride": 2}, **options},
        dataset_dir=str(dataset_dir),
        output_dir=str(output_dir),
        epochs=epochs,
    )
    bundle.initialize()
    return bundle


def train(dataset_dir: Path, output_dir: Path, epochs: int, **options: object) -> ConfigWorkflow:
    bundle = workflow(dataset_dir, output_dir, epochs, **options)
    bundle.run()
    return bundle


def test_training_changes_the_weights_and_is_continued_where_it_stopped(label_maps, tmp_path):
    train(label_maps, tmp_path, epochs=1)
    first = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert first["trainer"] == {"epoch": 1, "iteration": 3}
    shipped = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all(torch.equal(shipped[name], first["ema"][name]) for name in shipped)

    train(label_maps, tmp_path, epochs=2)
    second = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert second["trainer"] == {"epoch": 2, "iteration": 6}
    assert {entry["step"] for entry in second["optimizer"]["state"].values() if "step" in entry} == {6}
    assert any(not torch.equal(first["network"][name], second["network"][name]) for name in shipped)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_training_that_was_stopped_equals_one_that_was_not(label_maps, tmp_path, num_workers):
    network = {**NETWORK, "stem_stride": 2, "dropout_rate": 0.2, "drop_path_rate": 0.3}
    options = {"dataset_dir": label_maps, "epochs": 4, "network_def": network, "num_workers": num_workers}
    train(output_dir=tmp_path / "whole", **options)
    run_until(workflow(output_dir=tmp_path / "parts", **options), iteration=7)  # in the third epoch
    state = torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)
    assert state["trainer"] == {"epoch": 2, "iteration": 6}
    train(output_dir=tmp_path / "parts", **options)
    assert_equal_files(tmp_path / "whole", tmp_path / "parts")


def test_a_loss_that_is_not_finite_stops_the_training_and_leaves_its_files(label_maps, tmp_path):
    train(label_maps, tmp_path, epochs=1)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.pt")}
    assert set(before) == {"checkpoint.pt", "model.pt"}
    bundle = workflow(label_maps, tmp_path, epochs=2)
    layers = dict(bundle.parser.get_parsed_content("network_def").named_modules())
    name = next(name for name, layer in layers.items() if isinstance(layer, torch.nn.LayerNorm))
    calls = iter(range(1000))
    layers[name].register_forward_hook(lambda layer, args, output: output / 0 if next(calls) else output)
    with pytest.raises(RuntimeError) as caught:
        bundle.run()
    message = str(caught.value.__cause__)
    assert isinstance(caught.value.__cause__, MonaiMambaError)
    assert re.search(r"in iteration 5 \(epoch 2\), scan .*map_[01]\.nii\.gz", message), message
    assert f"the output of layer '{name}' (LayerNorm) is the first that is not finite" in message
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.pt")} == before


def test_training_starts_from_given_weights(label_maps, tmp_path):
    train(label_maps, tmp_path / "first", epochs=1)
    weights = tmp_path / "first" / "model.pt"
    given = torch.load(weights, weights_only=True)
    train(label_maps, tmp_path / "second", epochs=1, initial_weights=str(weights), learning_rate=0.0)
    after = torch.load(tmp_path / "second" / "model.pt", weights_only=True)
    torch.testing.assert_close(after, given, rtol=1e-5, atol=1e-6)


def test_the_last_maps_are_held_out(label_maps, tmp_path):
    bundle = train(label_maps, tmp_path, epochs=1, held_out=2)
    assert len(bundle.parser.get_parsed_content("train#dataset")) == 1


def test_a_network_without_sub_voxels_trains_too(label_maps, tmp_path):
    network = {"_target_": "tabsurfer_small", "out_channels": 36, "img_size": [16, 16, 16]}
    train(label_maps, tmp_path, epochs=1, network_def=network)
    assert (tmp_path / "model.pt").is_file()


def test_properties_are_complete(label_maps, tmp_path):
    bundle = ConfigWorkflow(
        str(CONFIG),
        workflow_type="train",
        logging_file=False,
        **{**OPTIONS, "network_def": {**NETWORK, "stem_stride": 2}},
        dataset_dir=str(label_maps),
        output_dir=str(tmp_path),
    )
    bundle.initialize()
    assert bundle.check_properties() == []


def test_a_folder_without_label_maps_is_refused_in_one_sentence(tmp_path):
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(CONFIG), "--device", "cpu"]
    command += ["--dataset_dir", str(tmp_path / "nothing"), "--output_dir", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "there is no such folder" in done.stderr.strip().splitlines()[-1]
    with pytest.raises((InputError, RuntimeError)):
        train(tmp_path, tmp_path / "out", epochs=1)


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_label_matches_the_sub_voxel_asked_for(stem_stride):
    voxels = torch.arange(4**3).reshape(1, 1, 4, 4, 4)
    prepare = PrepareSubvoxelBatch(stem_stride)
    seen = set()
    for _ in range(60):
        image, label, _, keywords = prepare({"image": voxels.float(), "label": voxels})
        assert torch.equal(image, voxels.float())
        subvoxel = keywords.get("subvoxel", 0)
        i, j, k = subvoxel // 4, subvoxel // 2 % 2, subvoxel % 2
        assert torch.equal(label, voxels[..., i::stem_stride, j::stem_stride, k::stem_stride])
        seen.add(subvoxel)
    assert seen == set(range(stem_stride**3))
