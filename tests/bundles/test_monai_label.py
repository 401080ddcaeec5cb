"""The bundles as MONAI Label runs them: a bare config without metadata, its own loader of weights, its own numbers."""

from __future__ import annotations

import json
from pathlib import Path

import hippocampus_phantom
import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from head_phantom import LEFT, RIGHT, IntensityNetwork, centered_affine, save_head
from monai.bundle import ConfigParser
from monai.transforms import LoadImaged
from tumor_phantom import MODALITIES, TumorNetwork, make_tumor
from tumor_phantom import save as save_volumes

from monai_mamba import MedSegMamba

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
NAMES = ("brats_multimodal", "hippocampal_subfields", "subcortical")

pytestmark = pytest.mark.usefixtures("bfloat16")


def metadata(bundle: str) -> dict:
    return json.loads((BUNDLES / bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))


def legend(bundle: str) -> dict[str, int]:
    """Name -> number, as a server tells its clients."""
    channels = metadata(bundle)["network_data_format"]["outputs"]["pred"]["channel_def"]
    return {name: int(number) for number, name in channels.items() if name != "Background"}


def ids(bundle: str) -> dict[str, int]:
    """Name -> id, as the command line writes them."""
    written = metadata(bundle)["network_data_format"]["post_processed_outputs"]["pred"]["channel_def"]
    return {name: int(label) for label, name in written.items() if name != "Background"}


def serve(
    bundle: str, image: Path | str, network: torch.nn.Module, **options: object
) -> tuple[np.ndarray, dict[str, str], ConfigParser]:
    """What the server does with a request: numbers `(H, W, D)`, what it says of them, and the config, for more."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / bundle / "configs" / "inference.json"))
    parser.config.update({"bundle_root": str(BUNDLES / bundle), "device": "cpu", "progress": False, **options})

    def last(*keys: str) -> object:
        return [parser.get_parsed_content(key) for key in keys if parser.get(key)][-1]

    data: dict = {"image": str(image), "image_path": str(image), "model": bundle, "device": "cpu"}
    for transform in last("preprocessing", "pre_transforms").transforms:
        if isinstance(transform, LoadImaged):  # the server asks whether each is a path, also those that may be missing
            assert all(isinstance(data[key], str) for key in transform.keys)
        data = transform(data)
    with torch.no_grad():
        data["pred"] = last("inferer")(data["image"][None], network)[0]
    for transform in last("postprocessing", "post_transforms").transforms:
        data = transform(data)
    # The server resizes what has not the size of the file, and writes its affine.
    assert tuple(data["pred"].shape) == (1, *(int(size) for size in data["image"].meta["spatial_shape"][-3:]))
    np.testing.assert_allclose(data["image"].meta["original_affine"], nib.load(image).affine)
    return data["pred"][0].numpy(), json.loads(json.dumps(data["result"])), parser


@pytest.mark.parametrize("bundle", NAMES)
def test_the_legend_counts_up_from_one_as_segments_in_slicer_do(bundle):
    numbers = legend(bundle)
    assert list(numbers.values()) == list(range(1, len(numbers) + 1))
    assert len({name.lower() for name in numbers}) == len(numbers)  # the server makes them lower case
    assert list(numbers) == list(ids(bundle))


def test_subcortical_numbers_are_those_of_the_legend_and_graded(tmp_path, caplog):
    matrix = np.array([[0.0, 0.0, 1.1], [-1.0, 0.0, 0.0], [0.0, -0.9, 0.0]])
    save_head(tmp_path / "scan.nii.gz", (40, 44, 42), matrix)
    numbers, answer, parser = serve(
        "subcortical", tmp_path / "scan.nii.gz", IntensityNetwork(), mirror=False, roi_size=[64, 64, 64]
    )
    assert numbers.dtype == np.uint8
    assert answer["quality"] == "fail"
    assert answer["quality_reason"].startswith("30 of 31 structures are unusual: Left-Lateral-Ventricle (not found)")
    assert f"scan.nii.gz: the result is probably wrong: {answer['quality_reason']}." in caplog.text
    names, written = {number: name for name, number in legend("subcortical").items()}, ids("subcortical")
    assert {written[names[number]] for number in np.unique(numbers) if number} == {LEFT, RIGHT}

    # The command line runs `postprocessing`, whose ids are those of the same structures.
    data = parser.get_parsed_content("preprocessing")({"image": str(tmp_path / "scan.nii.gz")})
    with torch.no_grad():
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], IntensityNetwork())[0]
    labels = parser.get_parsed_content("postprocessing")(data)["pred"][0].numpy()
    for number in np.unique(numbers):
        np.testing.assert_array_equal(labels == (written[names[number]] if number else 0), numbers == number)


def test_every_subcortical_id_has_the_number_of_its_name():
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / "subcortical" / "configs" / "inference.json"))
    change = parser.get_parsed_content("post_transforms").transforms[-1]
    numbers, written = legend("subcortical"), ids("subcortical")
    found = change({"pred": torch.tensor([0, *written.values()], dtype=torch.uint8)})["pred"]
    assert found.tolist() == [0, *(numbers[name] for name in written)]


def test_the_hippocampal_bundle_loads_its_first_network_and_finds_all_parts(tmp_path):
    weights = hippocampus_phantom.save_weights(tmp_path)
    expected = hippocampus_phantom.save_head(tmp_path / "scan.nii.gz", (64, 60, 50), np.diag([-1.0, 1.0, 1.0]))
    numbers, answer, _ = serve(
        "hippocampal_subfields",
        tmp_path / "scan.nii.gz",
        hippocampus_phantom.HalvesNetwork(),
        first_weights=weights["first_weights"],
        first_bundle_root=str(tmp_path),
        first_network_def={"_target_": "head_phantom.IntensityNetwork"},
        first_roi_size=[48, 48, 48],
        mirror=False,  # the first network tells the sides by their gray values
    )
    assert answer == {"quality": "pass", "quality_reason": ""}
    written = ids("hippocampal_subfields")
    for name, number in legend("hippocampal_subfields").items():
        a, b = numbers == number, expected == written[name]
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.999, name  # on a 1 mm grid nothing is resampled


def test_the_hippocampal_bundle_takes_the_first_one_from_beside_it(tmp_path, monkeypatch):
    """Also where the server runs elsewhere and the bundles are links in its app."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("monai_mamba.bundle.__file__", str(tmp_path / "site-packages" / "monai_mamba" / "bundle.py"))
    links = tmp_path / "app" / "model"
    links.mkdir(parents=True)
    (links / "hippocampal_subfields").symlink_to(BUNDLES / "hippocampal_subfields")
    parser = ConfigParser()
    parser.read_config(str(links / "hippocampal_subfields" / "configs" / "inference.json"))
    parser.config.update({"bundle_root": str(links / "hippocampal_subfields")})
    assert parser.get_parsed_content("first_bundle_root") == str(BUNDLES / "subcortical")
    (links / "subcortical").symlink_to(BUNDLES / "subcortical")
    parser.parse(reset=True)
    assert parser.get_parsed_content("first_bundle_root") == str(links / "subcortical")


def test_one_4d_image_becomes_tumor_labels(tmp_path):
    volumes, expected = make_tumor()
    path = save_volumes(tmp_path / "case.nii.gz", np.stack([volumes[name] for name in MODALITIES], axis=-1))
    numbers, answer, _ = serve("brats_multimodal", path, TumorNetwork(), pixdim=[1.0] * 3, roi_size=[48] * 3)
    assert set(answer) == {"quality", "quality_reason"}
    np.testing.assert_array_equal(numbers, expected)
    assert legend("brats_multimodal") == ids("brats_multimodal")


@pytest.fixture
def studies(tmp_path) -> list[dict[str, str]]:
    """Two labeled images as a server lists them."""
    shape, items = (40, 44, 42), []
    for name in ("one", "two"):
        labels = save_head(tmp_path / f"{name}.nii.gz", shape, np.eye(3))
        path = tmp_path / "labels" / "final" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(labels, centered_affine(shape, np.eye(3))), path)
        items.append({"image": str(tmp_path / f"{name}.nii.gz"), "label": str(path)})
    return items


def test_a_round_of_training_uses_the_images_of_the_server_and_its_weights(studies, tmp_path):
    root, network = tmp_path / "bundle", {"out_channels": 36, "channels": [8, 8, 8], "depth": 1, "d_state": 2}
    configs = BUNDLES / "subcortical" / "configs"
    (root / "models").mkdir(parents=True)
    torch.manual_seed(1)
    start = MedSegMamba(**network).state_dict()
    torch.save(start, root / "models" / "model.pt")
    loader = {"_target_": "CheckpointLoader", "load_path": str(root / "models" / "model.pt")}
    loader |= {"load_dict": {"model": "$@network"}, "strict": False}
    handlers = json.loads((configs / "train.json").read_text(encoding="utf-8"))["train"]["handlers"]
    options = {
        "bundle_root": str(root),  # without images of its own
        "device": "cpu",
        "train#trainer#max_epochs": 1,
        "train#dataset#data": studies[:1],
        "validate#dataset#data": studies[1:],
        "train#handlers": [loader, *handlers],
    }
    small = {
        "network_def": {"_target_": "MedSegMamba", **network},
        "roi_size": [16, 16, 16],
        "iterations_per_epoch": 1,
        "num_workers": 0,
        "learning_rate": 1e-7,
    }
    monai.bundle.run(
        run_id="run",
        init_id=None,
        final_id=None,
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "train.json"),
        logging_file=False,
        **options,
        **small,
    )
    trained = torch.load(root / "eval" / "train" / "model.pt", weights_only=True)
    moved = max(float((trained[name] - value).abs().max()) for name, value in start.items())
    # One step of AdamW from the given weights; another start would be away by the spread of fresh weights.
    assert 0 < moved < 1e-5
