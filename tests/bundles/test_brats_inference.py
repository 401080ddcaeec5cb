"""The inference config of the brain tumor bundle, from files to files, with a network that needs no training."""

from __future__ import annotations

import csv
import json
import logging
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import tumor_phantom
from monai.bundle import ConfigParser, ConfigWorkflow
from moved_phantom import GRIDS, RADII, TUMOR, motion, save_moved_case
from moved_phantom import points as moved_points
from tumor_phantom import MODALITIES, SHAPE, TumorNetwork, make_tumor, middle_affine, save, save_case

from monai_mamba.files import read_tsv
from monai_mamba.labels import RegionTable
from monai_mamba.transforms import registration

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "brats_multimodal"
CONFIG = BUNDLE / "configs" / "inference.json"
NETWORK = {"_target_": "tumor_phantom.TumorNetwork"}

pytestmark = pytest.mark.usefixtures("bfloat16")


@pytest.fixture
def weights(tmp_path) -> str:
    torch.save(TumorNetwork().state_dict(), tmp_path / "weights.pt")
    return str(tmp_path / "weights.pt")


def run(source: object, output_dir: Path, weights: str, **options: object) -> None:
    bundle = ConfigWorkflow(
        str(CONFIG),
        workflow_type="infer",
        logging_file=False,
        input=str(source) if isinstance(source, Path) else source,
        output_dir=str(output_dir),
        weights=weights,
        device="cpu",
        progress=False,
        network_def=NETWORK,
        pixdim=[1.0, 1.0, 1.0],
        roi_size=[32, 32, 32],
        **options,
    )
    bundle.initialize()
    bundle.run()


def labels_of(path: Path) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj)


def test_four_files_become_a_label_map_volumes_and_a_picture(tmp_path, weights):
    expected = save_case(tmp_path / "in" / "patient", "patient", "2023")
    run(tmp_path / "in", tmp_path / "out", weights)
    prefix = tmp_path / "out" / "patient" / "patient_desc-tumor"
    assert sorted(path.name for path in prefix.parent.iterdir()) == [
        f"{prefix.name}_{name}" for name in ("dseg.nii.gz", "picture.png", "volumes.tsv")
    ]
    result = nib.load(f"{prefix}_dseg.nii.gz")
    np.testing.assert_array_equal(result.affine, middle_affine(SHAPE))
    assert result.get_data_dtype() == np.uint8
    # 1 mm and not oblique: nothing is resampled, and the network is exact.
    np.testing.assert_array_equal(labels_of(Path(f"{prefix}_dseg.nii.gz")), expected)
    with open(f"{prefix}_volumes.tsv") as file:
        volumes = {row["name"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert volumes["Whole tumor (WT)"]["voxels"] == str((expected > 0).sum())
    core = np.isin(expected, (1, 3)).sum()
    assert list(volumes["Tumor core (TC)"].values())[:5] == [
        "Tumor core (TC)", "1+3", str(core), f"{core}.0", "FLAIR+T1+T1ce+T2"
    ]  # fmt: skip
    assert volumes["Peritumoral edema"]["voxels"] == str((expected == 2).sum())


@pytest.mark.parametrize(("convention", "ids"), [("brats2021", (1, 2, 4)), ("brats_msd", (2, 1, 3))])
def test_labels_follow_the_convention(tmp_path, weights, convention, ids):
    expected = save_case(tmp_path / "in", "sub-1", "bids", convention=dict(zip((1, 2, 3), ids, strict=True)))
    run(tmp_path / "in", tmp_path / "out", weights, label_convention=convention)
    np.testing.assert_array_equal(labels_of(tmp_path / "out" / "sub-1_desc-tumor_dseg.nii.gz"), expected)


def test_a_small_enhancing_tumor_is_called_necrosis(tmp_path, weights, monkeypatch):
    monkeypatch.setitem(tumor_phantom.RADII, "ET", 3.0)
    expected = save_case(tmp_path / "in", "a")
    assert 0 < (expected == 3).sum() < 200  # voxels of 1 mm3
    for limit, necrosis in ((0.2, (1, 3)), (0, (1,))):
        run(tmp_path / "in", tmp_path / str(limit), weights, min_enhancing_ml=limit)
        found = labels_of(tmp_path / str(limit) / "a_desc-tumor_dseg.nii.gz")
        np.testing.assert_array_equal(found == 1, np.isin(expected, necrosis))
        np.testing.assert_array_equal(found == 2, expected == 2)
        volumes = {row["name"]: row for row in read_tsv(tmp_path / str(limit) / "a_desc-tumor_volumes.tsv")}
        assert volumes["Enhancing tumor (ET)"]["voxels"] == str((found == 3).sum())
        assert volumes["Tumor core (TC)"]["voxels"] == str(np.isin(expected, (1, 3)).sum())
    assert (found == 3).any()


def test_one_4d_image_with_a_missing_modality_and_a_turned_grid(tmp_path, weights, caplog):
    affine = middle_affine(SHAPE, axes=np.array([[0, -1.0, 0], [0, 0, 1], [-1, 0, 0]]))
    volumes, expected = make_tumor(SHAPE, affine)
    volumes["flair"][:] = 0
    save(tmp_path / "all.nii.gz", np.stack([volumes[name] for name in MODALITIES], axis=-1), affine)
    with caplog.at_level(logging.INFO, "monai_mamba"):
        run(tmp_path / "all.nii.gz", tmp_path / "out", weights)
    assert "all: FLAIR missing" in caplog.text
    assert (
        "all: look at the result: 1 of 6 structures are unusual: Whole tumor (WT) (found without FLAIR)" in caplog.text
    )
    (row, *_) = read_tsv(tmp_path / "out" / "all_desc-tumor_volumes.tsv")
    assert row["modalities"] == "T1+T1ce+T2"
    result = nib.load(tmp_path / "out" / "all_desc-tumor_dseg.nii.gz")
    assert result.shape == SHAPE
    np.testing.assert_array_equal(result.affine, affine)
    np.testing.assert_array_equal(np.asanyarray(result.dataobj), expected)


def test_other_spacings_are_resampled_to_1_mm_and_back(tmp_path, weights):
    shape = (24, 26, 22)
    affine = middle_affine(shape, 1.5)
    volumes, expected = make_tumor(shape, affine)
    for name in MODALITIES:
        save(tmp_path / "in" / f"a_{name}.nii.gz", volumes[name], affine)
    run([str(tmp_path / "in" / f"a_{name}.nii.gz") for name in MODALITIES], tmp_path / "out", weights)
    found = labels_of(tmp_path / "out" / "a_desc-tumor_dseg.nii.gz")
    assert found.shape == shape
    table = RegionTable.load("brats2023")
    for name, a, b in zip(table.names, table.to_regions(found), table.to_regions(expected), strict=True):
        # Spheres of radius 4 to 8 mm at 1.5 mm: half a voxel at the border is 10 to 30 % of the volume.
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.8, name


def test_moved_modalities_are_registered_and_labels_come_back_on_a_chosen_grid(tmp_path, weights, caplog, monkeypatch):
    monkeypatch.setattr(registration, "LARGEST_TURN", 10.0)
    save_moved_case(tmp_path / "in")
    shape, _ = GRIDS["flair"]
    place = moved_points(shape, np.linalg.inv(motion("flair")) @ nib.load(tmp_path / "in" / "a_flair.nii.gz").affine)
    truth = np.linalg.norm(place - TUMOR, axis=-1) < RADII["WT"]
    overlap = {}
    caplog.set_level(logging.INFO, "monai_mamba")
    for register in (True, False):
        run(tmp_path / "in", tmp_path / str(register), weights, register=register, label_grid="flair")
        result = nib.load(tmp_path / str(register) / "a_desc-tumor_dseg.nii.gz")
        np.testing.assert_array_equal(result.affine, nib.load(tmp_path / "in" / "a_flair.nii.gz").affine)
        for name, region in (("WT", (1, 2, 3)), ("ET", (3,))):
            found = np.isin(np.asanyarray(result.dataobj), region)
            expected = truth if name == "WT" else np.linalg.norm(place - TUMOR, axis=-1) < RADII["ET"]
            overlap[register, name] = 2 * (found & expected).sum() / (found.sum() + expected.sum())
    assert overlap[True, "WT"] > 0.85
    assert overlap[True, "ET"] > 0.75  # a ball of 6 mm radius, in voxels of 1.3 x 1.3 x 4 mm
    assert overlap[False, "ET"] < 0.5
    assert "a_t2.nii.gz: registered to T1ce, turned by 11" in caplog.text
    (row, *_) = read_tsv(tmp_path / "True" / "a_desc-tumor_volumes.tsv")
    assert "T2 turned by 11 degrees and moved by" in row["doubts"]  # which is called far here
    assert "--register True registers it" in caplog.text


def test_a_few_voxels_of_32767_change_nothing(tmp_path, weights):
    volumes, expected = make_tumor()
    volumes["t1ce"][18, 20:23, 17] = 32767  # inside the brain
    for name in MODALITIES:
        save(tmp_path / "in" / f"a_{name}.nii.gz", volumes[name])
    run(tmp_path / "in", tmp_path / "out", weights)
    found = labels_of(tmp_path / "out" / "a_desc-tumor_dseg.nii.gz")
    assert (found != expected).sum() <= 3


def test_preprocessing_inferer_and_postprocessing_work_on_their_own(tmp_path):
    """What a server such as MONAI Label runs on one 4-D image: these three, without evaluator and handlers."""
    volumes, expected = make_tumor()
    path = save(tmp_path / "all.nii.gz", np.stack([volumes[name] for name in MODALITIES], axis=-1))
    parser = ConfigParser()
    parser.read_config(str(CONFIG))
    parser["pixdim"], parser["roi_size"], parser["progress"] = [1.0, 1.0, 1.0], [48, 48, 48], False
    data = parser.get_parsed_content("preprocessing")({"image": path})
    assert data["image"].shape[0] == 4
    with torch.no_grad():
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], TumorNetwork())[0]
    labels = parser.get_parsed_content("postprocessing")(data)["pred"]
    np.testing.assert_array_equal(labels[0].numpy(), expected)


@pytest.mark.parametrize("overlay", [None, *sorted(CONFIG.parent.glob("network_*.json"))], ids=str)
def test_networks_have_four_inputs_and_three_regions(overlay):
    parser = ConfigParser()
    parser.read_config([str(CONFIG), str(overlay)] if overlay else str(CONFIG))
    network = parser["network_def"]["network"]
    assert (network["in_channels"], network["out_channels"]) == (4, len(RegionTable.load("brats2023")))
    with torch.device("meta"):
        built = parser.get_parsed_content("network_def")
    assert built.fill.shape == (4,)
    assert list(built.parameters())[-1].shape[0] > 0


def test_metadata_agree_with_the_label_table():
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text())
    table = RegionTable.load("brats2023")
    names = {str(entry.id): entry.name for entry in table.labels}
    formats = metadata["network_data_format"]
    assert formats["outputs"]["pred"]["channel_def"] == names
    assert formats["post_processed_outputs"]["pred"]["channel_def"] == names
    assert formats["outputs"]["pred"]["num_channels"] == len(table)
    assert list(metadata["weights"]) == ["models/model.pt"]


def test_the_readme_names_what_there_is():
    readme = (BUNDLE / "docs" / "README.md").read_text(encoding="utf-8")
    configs = set(re.findall(r"(?:brats_multimodal/configs|\$C)/(\w+\.json)", readme))
    assert configs >= {path.name for path in CONFIG.parent.glob("network_*.json")} | {"train.json", "evaluate.json"}
    assert all((CONFIG.parent / name).is_file() for name in configs)
    options = set(re.findall(r"`--(\w+)", readme))
    known = set().union(*(json.loads(path.read_text()) for path in CONFIG.parent.glob("*.json")))
    assert len(options) > 12
    assert options <= known | {"config_file"}
    assert all((BUNDLE / "docs" / link).exists() for link in re.findall(r"\]\(([^)#]+)\)", readme) if "://" not in link)
