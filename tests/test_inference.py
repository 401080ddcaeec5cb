"""`segment` gives what the command line writes, voxel by voxel, for paths and arrays."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from head_phantom import LEFT, RIGHT, IntensityNetwork, save_head
from monai.data import MetaTensor, NibabelReader, load_net_with_metadata
from monai.transforms import Compose, LoadImage, LoadImaged
from tiny_bundle import edit, make_tiny_bundle, save_weights
from tumor_phantom import TumorNetwork, make_tumor, middle_affine

from monai_mamba import segment
from monai_mamba.__main__ import main
from monai_mamba.errors import InputError
from monai_mamba.files import read_tsv

ROOT = Path(__file__).resolve().parents[1]
MATRIX = np.array([[0, -1.5, 0], [-1, 0, 0.1], [0, 0.1, 1.2]])  # turned, flipped, oblique
QUIET = {"device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A folder with bundles, as in an installed package; the network knows the phantom."""
    folder = tmp_path_factory.mktemp("package")
    bundle = make_tiny_bundle(folder / "bundles")
    definition = {"network_def": {"_target_": "head_phantom.IntensityNetwork"}, "roi_size": [64, 64, 64]}
    edit(bundle / "configs" / "inference.json", lambda config: config.update(definition))
    save_weights(bundle, IntensityNetwork().state_dict())
    return folder


@pytest.fixture
def here(package, tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr("monai_mamba.bundle.PACKAGE", package)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_same(found: MetaTensor, expected: np.ndarray, affine: np.ndarray) -> None:
    np.testing.assert_array_equal(found[0].numpy(), expected)
    np.testing.assert_array_equal(found.affine.numpy(), affine)
    assert found.dtype == torch.uint8


def test_paths_and_arrays_give_what_the_command_line_writes(here, monkeypatch):
    save_head(here / "scan#1.nii.gz", (40, 34, 36), MATRIX)
    save_head(here / "scan#2.nii.gz", (40, 34, 36), np.eye(3))
    monkeypatch.setattr(sys, "argv", ["monai_mamba"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    main(["run", "subcortical", "--input", "scan#?.nii.gz", "--device", "cpu", "--progress", "False"])
    written = nib.load(here / "eval" / "scan#1_desc-subcortical_dseg.nii.gz")
    expected = np.asanyarray(written.dataobj)
    assert {LEFT, RIGHT} <= set(np.unique(expected))
    rows = read_tsv(here / "eval" / "scan#1_desc-subcortical_volumes.tsv")
    graded = read_tsv(here / "eval" / "cases.tsv")[0]
    assert graded["quality"] == "fail"

    files, hook, disabled = set(here.rglob("*")), sys.excepthook, logging.root.manager.disable
    image = LoadImage(NibabelReader)("scan#1.nii.gz")
    voxels = nib.load("scan#1.nii.gz")
    inputs = (
        ("scan#1.nii.gz", {}),
        (image, {}),
        (image[None].to(torch.float64), {}),
        (np.asarray(voxels.dataobj, dtype=">f8"), {"affine": voxels.affine}),
    )
    for source, options in inputs:
        labels, volumes, quality = segment(source, **options, **QUIET)
        assert quality == (graded["quality"], graded["message"])
        assert_same(labels, expected, written.affine)
        assert [list(row) for row in volumes] == [list(row) for row in rows]
        for row, cells in zip(volumes, rows, strict=True):
            assert row["name"] == cells["name"]
            assert {key: value for key, value in row.items() if key != "name"} == {
                key: None if cell == "n/a" else float(cell) for key, cell in cells.items() if key != "name"
            }
    assert labels.meta["filename_or_obj"].endswith("array.nii")
    assert set(here.rglob("*")) == files
    assert (sys.excepthook, logging.root.manager.disable) == (hook, disabled)


def test_a_tumor_case_is_a_mapping(monkeypatch, tmp_path):
    volumes, expected = make_tumor()
    torch.save(TumorNetwork().state_dict(), tmp_path / "weights.pt")
    network = {"_target_": "tumor_phantom.TumorNetwork"}
    options = {"network_def": network, "pixdim": [1.0] * 3, "roi_size": [32] * 3, "quality_limits": None}
    affine = middle_affine(expected.shape)
    found = segment(volumes, "brats_multimodal", affine=affine, weights=tmp_path / "weights.pt", **options, **QUIET)
    np.testing.assert_array_equal(found.labels[0].numpy(), expected)
    assert found.quality is None
    whole = next(row for row in found.volumes if row["name"] == "Whole tumor (WT)")
    assert whole == {**whole, "labels": "1+2+3", "voxels": np.count_nonzero(expected)}


def test_an_exported_file_holds_what_monai_deploy_runs(here, package):
    """It builds the steps from the config in the file, wherever the package is installed, and does the reading."""
    bundle = package / "bundles" / "subcortical"
    scan, config = bundle / "sample_data" / "sub-0001_T1w.nii.gz", str(bundle / "configs" / "inference.json")
    options = {"filepath": "model.ts", "use_trace": True, "input_shape": [1, 1, 48, 48, 48]}
    monai.bundle.ckpt_export(bundle_root=str(bundle), config_file=config, **options)
    network, metadata, files = load_net_with_metadata("model.ts", more_extra_files=("inference.json",))
    assert metadata["name"] == "Subcortical"
    parser = monai.bundle.ConfigParser(json.loads(files["inference.json"]))
    parser["progress"] = False
    read, *steps = parser.get_parsed_content("preprocessing").transforms
    assert isinstance(read, LoadImaged)
    data = Compose(steps)({"image": LoadImage(NibabelReader)(scan)})
    with torch.no_grad():
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network)[0]
    labels = parser.get_parsed_content("postprocessing")(data)["pred"]
    assert torch.equal(labels, segment(scan, **QUIET).labels)
    given = "$torch.jit.load('model.ts').to(@device)"  # in place of the network of the bundle
    assert torch.equal(labels, segment(scan, network=given, **QUIET).labels)


def test_what_cannot_be_segmented_is_refused_with_a_sentence(here):
    cube = np.ones((32, 32, 32))
    for name in ("a", "b"):
        save_head(here / f"{name}.nii.gz", (32, 36, 34), np.eye(3))
    lps = MetaTensor(cube, meta={"space": "LPS"})
    for image, options, message in (
        ("a.nii.gz", {"bundle": "cortex"}, "There is no bundle 'cortex'. Choose one of subcortical."),
        ("scan.nii", {"affine": np.eye(4)}, "scan.nii: a file has an affine of its own. Leave out affine, or give"),
        ("", {}, "The path of the image is empty."),
        (cube, {"affine": np.eye(4) + np.eye(4, k=-3)}, "The last row of the affine is [1.0, 0.0, 0.0, 1.0], expected"),
        (cube, {}, "An array has no position: give the affine of its voxels, or a MetaTensor, or the file's path."),
        (lps, {}, "The affine of the image is in LPS, expected RAS. Load it with LoadImage."),
        (cube[0], {"affine": np.eye(4)}, "The image has the shape (32, 32), expected (H, W, D) or (1, H, W, D)."),
        (cube * 1j, {"affine": np.eye(4)}, "The voxels of the image are of type complex128; expected one real number"),
        (cube, {"affine": np.eye(3)}, "The affine is not a matrix (4, 4) of numbers, from voxels to mm ("),
        (cube, {"affine": np.full((4, 4), np.nan)}, "image: the affine in the header, "),
        ({"t1": "a.nii.gz"}, {}, "{'t1': 'a.nii.gz'}: expected one image a scan, not one for each modality."),
        (".", {}, ".: 2 scans, expected one. Give the path of one, or segment all with 'python -m monai_mamba run"),
        ("c.nii.gz", {}, "c.nii.gz: "),
        ("a.nii.gz", {"output_dir": "results"}, "output_dir: not an option of segment, which takes an image and"),
        ("a/series-3", {"dicom_seg": True}, "dicom_seg: not an option of segment"),
        ("a.nii.gz", {"overlp": 0.5}, "--overlp: the config has no such option. Did you mean --overlap?"),
    ):
        with pytest.raises(InputError) as caught:
            segment(image, **options, **QUIET)
        assert str(caught.value).startswith(message)


def test_the_notebook_runs(here, capsys):
    notebook = json.loads((ROOT / "docs" / "examples" / "segment.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    names: dict[str, object] = {}
    for cell in cells:
        exec("".join(cell["source"]), names)
    out = capsys.readouterr().out
    assert "Left-Hippocampus" in out
    assert "['sub-0001_T1w_labels.nii.gz']" in out
    assert "the same labels: True" in out
