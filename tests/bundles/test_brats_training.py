"""Training and evaluation configs of the brain tumor bundle, on phantoms and with networks that take seconds."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import assert_every_process_prepares_alike, train_as_two_processes
from monai.bundle import ConfigWorkflow
from stopped_training import assert_equal_files, run_until
from tumor_phantom import MODALITIES, TumorNetwork, make_tumor, save, save_case

from monai_mamba.data.modalities import modality_subsets, subset_name
from monai_mamba.errors import MonaiMambaError, WeightsError
from monai_mamba.labels import RegionTable

TESTS = Path(__file__).resolve().parents[1]
CONFIGS = TESTS.parent / "bundles" / "brats_multimodal" / "configs"
TINY = {"_target_": "MSDKMamba", "channels": [8] * 5, "depths": [1] * 4, "d_state": 2}
NETWORK = {"_target_": "MissingModalityFill", "network": TINY}
OPTIONS = {"device": "cpu", "num_workers": 0, "roi_size": [32, 32, 32], "overlap": 0.0, "network_def": NETWORK}
OPTIONS |= {"iterations_per_epoch": 1, "pixdim": [1.0, 1.0, 1.0]}
ALL = "FLAIR+T1+T1ce+T2"

pytestmark = pytest.mark.filterwarnings("ignore:All pairs belong to one person")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Two persons, in the layout of BraTS 2023."""
    folder = tmp_path_factory.mktemp("cases")
    for number, center in enumerate(([-4.0, 5.0, 3.0], [5.0, -3.0, 0.0])):
        name = f"BraTS-GLI-0000{number}-000"
        save_case(folder / name, name, "2023", label=True, center=np.array(center))
    return folder


def workflow(*configs: str, **options: object) -> ConfigWorkflow:
    files = [str(CONFIGS / name) for name in configs]
    return ConfigWorkflow(files, workflow_type="train", logging_file=False, **options)


def run(*configs: str, **options: object) -> ConfigWorkflow:
    bundle = workflow(*configs, **{**OPTIONS, **options})
    bundle.initialize()
    bundle.run()
    return bundle


def root_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None and not isinstance(error, MonaiMambaError):
        error = error.__cause__
    return error


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_training_and_validation_see_images_as_inference_does():
    inference, training = (json.loads((CONFIGS / name).read_text()) for name in ("inference.json", "train.json"))
    loading, *others = inference["preprocessing"]["transforms"]
    assert training["train"]["image_transforms"] == [{name: loading[name] for name in ("_target_", "keys")}, *others]
    for part in (training["train"]["deterministic_transforms"], training["validate"]["preprocessing"]["transforms"]):
        assert part.startswith("$@train#image_transforms + @train#label_transforms")
    assert training["network_def"] == inference["network_def"]


def decathlon(folder: Path) -> np.ndarray:
    """One case in the layout and with the labels of Task01 of the Medical Segmentation Decathlon."""
    volumes, labels = make_tumor()
    save(folder / "imagesTr" / "BRATS_001.nii.gz", np.stack([volumes[name] for name in MODALITIES], axis=-1))
    save(folder / "labelsTr" / "BRATS_001.nii.gz", np.choose(labels, [0, 2, 1, 3]).astype(np.uint8))
    content = {
        "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
        "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
        "training": [{"image": "./imagesTr/BRATS_001.nii.gz", "label": "./labelsTr/BRATS_001.nii.gz"}],
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return labels


@pytest.mark.parametrize("layout", ["BraTS 2021", "BraTS 2023", "Decathlon"])
def test_layouts_and_conventions_give_the_same_regions(layout, tmp_path):
    convention = {"BraTS 2021": "brats2021", "BraTS 2023": "brats2023", "Decathlon": "brats_msd"}[layout]
    if layout == "Decathlon":
        expected = decathlon(tmp_path)
    else:
        ids = {1: 1, 2: 2, 3: 4 if layout == "BraTS 2021" else 3}
        save_case(tmp_path / "case", "case", layout[-4:], label=True, convention=ids)
        expected = make_tumor()[1]
    bundle = workflow(
        "train.json", dataset_dir=str(tmp_path), output_dir=str(tmp_path), pixdim=[1.0] * 3, label_convention=convention
    )
    case = bundle.parser.get_parsed_content("validate#dataset")[0]
    regions = RegionTable.load("brats2023").to_regions(expected)
    np.testing.assert_array_equal(case["label"].numpy(), regions)
    # Each modality is standardized within the brain, and 0 outside.
    for channel in case["image"]:
        inside = channel[channel != 0]
        assert inside.mean().abs() < 1e-4
        assert abs(inside.std() - 1) < 1e-3
        assert channel.max() > 1.5


def test_a_real_case_of_brats_2020_style(shared, tmp_path):
    """TCGA-FG-6692: 240 x 240 x 155 voxels; volumes of its labels 1, 2 and 4 as counted in the file."""
    source = shared / "data" / "tumour_tcga_lgg" / "TCGA-FG-6692"
    for file in source.iterdir():
        (tmp_path / file.name.replace("pseudoseg", "seg")).symlink_to(file)
    bundle = workflow(
        "train.json",
        dataset_dir=str(tmp_path),
        output_dir=str(tmp_path),
        label_convention="brats2021",
        pixdim=[1.0] * 3,
    )
    case = bundle.parser.get_parsed_content("validate#dataset")[0]
    assert tuple(case["label"].shape) == (3, 240, 240, 155)
    assert case["label"].flatten(1).sum(dim=1).tolist() == [2477 + 6840, 2477 + 20862 + 6840, 6840]
    image = case["image"]
    assert max(image.shape[1:]) < 200  # cropped to the brain
    # The enhancing tumor is brighter in T1ce than the brain, whose mean is 0, and the whole tumor in FLAIR and T2.
    label = bundle.parser.get_parsed_content("train#alignment#0")({"image": image, "label": case["label"]})["label"]
    core, whole, enhancing = label.bool()
    assert (whole.sum(), enhancing.sum()) == (30179, 6840)  # 1 mm, turned and cropped: nothing is lost
    for channel, region in ((0, whole), (2, enhancing), (3, whole)):
        assert image[channel][region].mean() > 0.3, channel
    assert core.sum() > enhancing.sum()


def test_random_windows_keep_image_and_label_together(dataset, tmp_path):
    options = {"dataset_dir": str(dataset), "output_dir": str(tmp_path), "dropout_of_modalities": 0.5}
    bundle = workflow("train.json", **{**OPTIONS, **options})
    bundle.parser["train#random_transforms#4#prob"] = 1.0  # always turn and scale
    cases = bundle.parser.get_parsed_content("train#dataset")
    bundle.parser.get_parsed_content("train#preprocessing").set_random_state(3)
    missing = 0
    for window in [window for _ in range(6) for window in cases[0]]:
        image, label = window["image"], window["label"]
        assert tuple(image.shape) == (4, 32, 32, 32)
        core, whole, enhancing = label.bool()
        assert not (enhancing & ~core).any()
        assert not (core & ~whole).any()
        brain = (image != 0).any(dim=0)
        assert brain.any()
        for channel, region in enumerate([whole, core, enhancing, whole]):
            values = image[channel].as_tensor()
            if not values.any():
                missing += 1
            elif region.sum() > 30:
                assert values[region].mean() - values[brain & ~whole].mean() > 0.5, channel
    assert 0 < missing < 40


def test_training_resumes_and_its_weights_fit(dataset, tmp_path):
    options = {"dataset_dir": str(dataset), "output_dir": str(tmp_path), "val_interval": 1}
    run("train.json", epochs=1, **options)
    first = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert first["trainer"] == {"epoch": 1, "iteration": 1}
    bundle = run("train.json", epochs=2, **options)
    second = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert second["trainer"] == {"epoch": 2, "iteration": 2}
    assert {entry["step"] for entry in second["optimizer"]["state"].values() if "step" in entry} == {2}
    assert second["lr_scheduler"]["last_epoch"] == 2
    for name, value in torch.load(tmp_path / "model.pt", weights_only=True).items():
        assert torch.equal(value, second["ema"][name]), name
    assert first["ema"].keys() == second["ema"].keys() == first["network"].keys()
    weights = torch.load(tmp_path / "model.pt", weights_only=True)
    assert "fill" in weights
    bundle.parser.get_parsed_content("network_def").load_state_dict(weights)


def test_weights_trained_at_another_voxel_size_are_refused(dataset, tmp_path):
    run("train.json", dataset_dir=str(dataset), output_dir=str(tmp_path), epochs=1, val_fraction=0)
    trained, shipped = tmp_path / "model.pt", CONFIGS.parent / "models" / "model.pt"
    evaluation = {"dataset_dir": str(dataset), "weights": str(trained), "pixdim": [2.0] * 3}
    inference = {"input": str(dataset), "weights": str(trained), "device": "cpu", "network_def": NETWORK}
    own = {"input": str(dataset), "weights": str(shipped), "device": "cpu", "pixdim": [1.0] * 3}
    runs = {
        "trained with --pixdim [1.0, 1.0, 1.0], and this run has [2.0, 2.0, 2.0]": [
            lambda: run("train.json", "evaluate.json", **evaluation, output_dir=str(tmp_path / "scores")),
            lambda: run_inference(**inference, output_dir=str(tmp_path / "out")),
        ],
        "trained with --pixdim [2.0, 2.0, 2.0], and this run has [1.0, 1.0, 1.0]": [
            lambda: run_inference(**own, output_dir=str(tmp_path / "out")),
        ],
    }
    for text, commands in runs.items():
        for command in commands:
            with pytest.raises((RuntimeError, WeightsError)) as caught:
                command()
            assert isinstance(error := root_cause(caught.value), WeightsError)
            assert text in str(error)
    assert not list(tmp_path.glob("out/**/*_dseg.nii.gz"))
    run_inference(**{**inference, "pixdim": [1.0] * 3, "roi_size": [32] * 3}, output_dir=str(tmp_path / "out"))
    assert len(list(tmp_path.glob("out/**/*_dseg.nii.gz"))) == 2


def run_inference(**options: object) -> None:
    bundle = workflow("inference.json", progress=False, **options)
    bundle.initialize()
    bundle.run()


@pytest.mark.usefixtures("bfloat16")
def test_a_training_that_was_stopped_equals_one_that_was_not(dataset, tmp_path):
    options = {**OPTIONS, "dataset_dir": str(dataset), "num_workers": 1, "epochs": 4, "val_interval": 4}
    options |= {"synthetic_dir": str(dataset), "synthetic_fraction": 0.5, "paste_lesions": 1.0}
    for folder in ("whole", "parts", "parts"):
        bundle = workflow("train.json", **options, output_dir=str(tmp_path / folder))
        bundle.initialize()
        if folder == "parts" and not (tmp_path / folder).exists():
            run_until(bundle, iteration=3)
            assert torch.load(tmp_path / folder / "checkpoint.pt", weights_only=True)["trainer"]["epoch"] == 2
        else:
            bundle.run()
    assert_equal_files(tmp_path / "whole", tmp_path / "parts")


def test_data_are_prepared_alike_in_every_process(dataset, tmp_path):
    options = {**OPTIONS, "dataset_dir": str(dataset), "synthetic_dir": str(dataset), "paste_lesions": 1.0}
    training = workflow("train.json", **options, output_dir=str(tmp_path)).parser
    inference = workflow("inference.json", input=str(dataset), output_dir=str(tmp_path)).parser
    evaluation = workflow("train.json", "evaluate.json", **options, output_dir=str(tmp_path)).parser
    for parser, name in ((training, "train#windows"), (evaluation, "validate#dataset"), (inference, "dataset")):
        assert_every_process_prepares_alike(parser.get_parsed_content(name))


def test_weights_that_do_not_ship_are_to_be_trained(dataset):
    with pytest.raises(RuntimeError) as caught:
        run("train.json", "evaluate.json", dataset_dir=str(dataset), weights=str(CONFIGS.parent / "models" / "mine.pt"))
    error = root_cause(caught.value)
    assert isinstance(error, WeightsError)
    assert "ships no trained weights" in str(error)
    assert f"--config_file {CONFIGS / 'train.json'} --dataset_dir CASES" in str(error)
    assert "--weights run/model.pt" in str(error)


def test_evaluation_reports_all_15_subsets(dataset, tmp_path):
    torch.save(TumorNetwork().state_dict(), tmp_path / "weights.pt")
    options = {"dataset_dir": str(dataset), "output_dir": str(tmp_path / "out"), "lesion_wise": True}
    options |= {"weights": str(tmp_path / "weights.pt"), "network_def": {"_target_": "tumor_phantom.TumorNetwork"}}
    bundle = workflow("train.json", "evaluate.json", **{**OPTIONS, **options})
    bundle.parser["val_cases"] = "$monai_mamba.data.with_subsets(@cases[:1], @subsets)"
    bundle.initialize()
    bundle.run()
    scores = {(row["modalities"], row["region"]): row for row in rows(tmp_path / "out" / "scores.tsv")}
    assert {subset for subset, _ in scores} == {subset_name(subset) for subset in modality_subsets()}
    assert len(scores) == 45
    for region in ("TC", "WT", "ET"):
        row = scores[ALL, region]
        assert (row["subject"], row["dsc"], row["hd95_mm"]) == ("BraTS-GLI-00000-000", "1", "0")
        assert (row["lesion_dsc"], row["lesions"], row["lesions_missed"]) == ("1", "1", "0")
    # T1ce alone shows the enhancing tumor only, which then is all of the core and of the tumor.
    assert scores["T1ce", "ET"]["dsc"] == "1"
    assert 0 < float(scores["T1ce", "WT"]["dsc"]) < float(scores["T1ce", "TC"]["dsc"]) < 1
    # FLAIR alone does not show it at all.
    assert scores["FLAIR", "WT"]["dsc"] == "1"
    assert (scores["FLAIR", "ET"]["dsc"], scores["FLAIR", "ET"]["hd95_mm"]) == ("0", "373.129")
    summary = rows(tmp_path / "out" / "summary.tsv")
    assert len(summary) == 16 * 4
    assert summary[-1]["modalities"] == "mean over subsets"
    assert "BraTS 2023" in (tmp_path / "out" / "scores.json").read_text()


def test_training_and_evaluation_call_a_small_enhancing_tumor_necrosis_as_inference_does():
    inference, training = (json.loads((CONFIGS / name).read_text()) for name in ("inference.json", "train.json"))
    restoring, *_ = training["validate"]["postprocessing"]["transforms"]
    assert inference["postprocessing"]["transforms"] == [restoring]
    assert restoring["min_enhancing_ml"] == "@min_enhancing_ml"
    assert inference["min_enhancing_ml"] == training["min_enhancing_ml"] == 0.2


def test_two_processes_train_one_network(dataset, tmp_path):
    options = {
        **OPTIONS,
        "dataset_dir": dataset,
        "output_dir": tmp_path,
        "epochs": 1,
        "windows_per_case": 1,
        "split": "$(@cases, @cases)",
        "val_interval": 2,
    }
    files = [CONFIGS / "train.json", CONFIGS / "multi_gpu_train.json"]
    train_as_two_processes(files, tmp_path, **options)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["trainer"] == {"epoch": 1, "iteration": 1}
    assert not any(name.startswith("module.") for name in state["network"])
