"""The inference config of the hippocampal bundle, from file to file, with networks that need no training."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import hippocampus_phantom as phantom
import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from dicom_phantom import write_series
from monai.bundle import ConfigParser, ConfigWorkflow
from scipy import ndimage

from monai_mamba.errors import BatchError, InputError, MonaiMambaError, WeightsError
from monai_mamba.labels import LabelTable

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "hippocampal_subfields" / "configs"
SHAPE = (64, 60, 50)
LAS = np.diag([-1.0, 1.0, 1.0])
OPTIONS = {
    "device": "cpu",
    "progress": False,
    "first_roi_size": [80, 80, 72],
    "first_network_def": {"_target_": "head_phantom.IntensityNetwork"},
    "first_windows#mirror": None,  # it tells the sides by their gray values
    "network_def": {"_target_": "hippocampus_phantom.HalvesNetwork"},
}

pytestmark = pytest.mark.usefixtures("bfloat16")


def workflow(*overlays: str, **options: object) -> ConfigWorkflow:
    files = [str(CONFIGS / name) for name in ("inference.json", *overlays)]
    bundle = ConfigWorkflow(files, workflow_type="infer", logging_file=False, **options)
    bundle.initialize()
    return bundle


def run(scans: Path, output_dir: Path, **options: object) -> None:
    workflow(input=str(scans), output_dir=str(output_dir), **{**OPTIONS, **options}).run()


def failure(scans: Path, output_dir: Path, **options: object) -> MonaiMambaError:
    """The error that a user reads."""
    with pytest.raises(RuntimeError) as caught:
        run(scans, output_dir, **options)
    error = caught.value
    while not isinstance(error, MonaiMambaError):
        error = error.__cause__
    return error


@pytest.fixture
def weights(tmp_path) -> dict[str, str]:
    return phantom.save_weights(tmp_path)


@pytest.fixture
def scan(tmp_path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in" / "sub-01_T1w.nii.gz"


def dice(found: np.ndarray, expected: np.ndarray, label: int) -> float:
    a, b = found == label, expected == label
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("overlays", [(), ("fs60_inference.json",)], ids=["head_tail", "fs60"])
def test_properties_are_complete(overlays, tmp_path):
    small = {"network_def": {"_target_": "MedSegMamba", "out_channels": 25, "channels": [8, 8, 8], "depth": 1}}
    bundle = workflow(*overlays, output_dir=str(tmp_path), **(small if overlays else {}))
    assert bundle.check_properties() == []
    assert bundle.bundle_root == str(CONFIGS.parent)


@pytest.mark.parametrize(
    ("shape", "matrix", "bound"),
    [(SHAPE, LAS, 0.999), ((60, 54, 72), np.array([[0, 0, 0.9], [-1.1, 0, 0], [0, 0.8, 0]]), 0.85)],
    ids=["1mm", "anisotropic-permuted"],
)
def test_halves_of_both_sides_come_back_on_the_grid_of_the_scan(scan, tmp_path, weights, caplog, shape, matrix, bound):
    expected = phantom.save_head(scan, shape, matrix)
    if matrix is not LAS:  # between the gray values of one structure and of tissue, this first network sees the other
        weights["aseg"] = str(scan.parent / "aseg.nii.gz")
    with caplog.at_level("INFO"):
        run(scan, tmp_path / "out", **weights)
    assert "Label scheme head_tail" in caplog.text
    assert "mm beyond the image; it is filled with 0" in caplog.text  # a phantom has little around its hippocampi
    prefix = tmp_path / "out" / "sub-01_desc-hippocampus"
    assert sorted(path.name for path in prefix.parent.iterdir()) == [
        f"{prefix.name}{ending}" for ending in ("_dseg.nii.gz", "_picture.png", "_volumes.tsv")
    ]
    result, source = nib.load(f"{prefix}_dseg.nii.gz"), nib.load(scan)
    np.testing.assert_array_equal(result.affine, source.affine)
    found = np.asanyarray(result.dataobj)
    assert found.shape == source.shape
    with Path(f"{prefix}_volumes.tsv").open(newline="") as file:
        volumes = {int(row["id"]): row for row in csv.DictReader(file, delimiter="\t")}
    assert list(volumes) == [1701, 1702, 5301, 5302]
    for label, row in volumes.items():
        assert dice(found, expected, label) > bound
        assert int(row["voxels"]) == (found == label).sum()
        assert float(row["mm3"]) == pytest.approx(phantom.VOLUME / 2, rel=0.15)


def test_a_given_label_map_takes_the_place_of_the_first_network(scan, tmp_path, weights):
    expected = phantom.save_head(scan, SHAPE, LAS)
    options = {"weights": weights["weights"], "first_weights": "absent.pt"}
    run(scan, tmp_path / "out", aseg=str(scan.parent / "aseg.nii.gz"), **options)
    found = np.asanyarray(nib.load(tmp_path / "out" / "sub-01_desc-hippocampus_dseg.nii.gz").dataobj)
    np.testing.assert_array_equal(found, expected)
    assert "absent.pt: there is no weights file" in str(failure(scan, tmp_path / "neither", **options))


def test_a_dicom_segmentation_has_the_parts_of_both_sides(scan, tmp_path, weights):
    pytest.importorskip("highdicom", reason="the extra 'dicom-seg' is not installed")
    phantom.save_head(scan, SHAPE, LAS)
    image = nib.load(scan)
    write_series(tmp_path / "dicom", image.get_fdata().astype(np.int16), image.affine)
    options = {"weights": weights["weights"], "first_weights": "absent.pt", "aseg": str(scan.parent / "aseg.nii.gz")}
    run(tmp_path / "dicom", tmp_path / "out", dicom_seg=True, **options)
    seg = pydicom.dcmread(tmp_path / "out" / "dicom_series-3_desc-hippocampus_dseg.dcm")
    labels = LabelTable.load("hippocampus_head_tail").structures
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == [entry.name for entry in labels]
    found = np.asanyarray(nib.load(tmp_path / "out" / "dicom_series-3_desc-hippocampus_dseg.nii.gz").dataobj)
    assert seg.pixel_array.sum() == (found > 0).sum() > 0


def test_the_parts_fill_the_given_label_map_or_keep_the_outline_of_the_network(scan, tmp_path, weights):
    expected = phantom.save_head(scan, SHAPE, LAS)
    path = scan.parent / "aseg.nii.gz"
    aseg = nib.load(path)
    thinner = np.asanyarray(aseg.dataobj).copy()
    for label in (17, 53):
        whole = thinner == label
        thinner[whole & ~ndimage.binary_erosion(whole)] = 0
    nib.save(nib.Nifti1Image(thinner, aseg.affine), path)
    given = np.isin(thinner, (17, 53))
    for fill, outline in ((True, given), (False, expected > 0)):
        run(scan, tmp_path / str(fill), aseg=str(path), fill=fill, weights=weights["weights"])
        found = np.asanyarray(nib.load(tmp_path / str(fill) / "sub-01_desc-hippocampus_dseg.nii.gz").dataobj)
        np.testing.assert_array_equal(found > 0, outline)
        np.testing.assert_array_equal(found[given], expected[given])


def test_label_maps_that_do_not_fit_the_scans_are_refused(scan, tmp_path, weights):
    phantom.save_head(scan, SHAPE, LAS)
    phantom.save_head(scan.with_name("sub-02_T1w.nii.gz"), SHAPE, LAS)
    aseg = tmp_path / "aseg.nii.gz"
    (scan.parent / "aseg.nii.gz").rename(aseg)
    assert "one label map for 2 scans" in str(failure(scan.parent, tmp_path / "out", aseg=str(aseg), **weights))
    folder = tmp_path / "results"
    folder.mkdir()
    assert "sub-02_T1w.nii.gz: its label map cannot be used" in str(
        failure(scan.parent, tmp_path / "out", aseg=str(folder), **weights)
    )


def test_a_hippocampus_that_is_missing_small_or_cut_is_refused_and_the_others_go_on(scan, tmp_path, weights):
    folder, results = scan.parent, tmp_path / "results"
    results.mkdir()
    for name, shift in (("cut", -14.0), ("good", 0.0), ("missing", 0.0), ("small", 0.0), ("wide", 0.0)):
        phantom.save_head(folder / f"{name}_T1w.nii.gz", SHAPE, LAS, shift)
        image = nib.load(folder / "aseg.nii.gz")
        ids = np.asanyarray(image.dataobj).copy()
        if name == "missing":
            ids[ids == 53] = 0
        if name == "small":
            left = np.argwhere(ids == 17)
            ids[ids == 17] = 0
            ids[tuple(left[:400].T)] = 17
        if name == "wide":
            ids[10:62, 30, 25] = 17
        nib.save(nib.Nifti1Image(ids, image.affine), results / f"{name}_desc-subcortical_dseg.nii.gz")
    (folder / "aseg.nii.gz").unlink()
    error = failure(folder, tmp_path / "out", aseg=str(results), **weights)
    assert isinstance(error, BatchError)
    text = str(error)
    assert "4 of 5 scans failed" in text
    assert "missing_T1w.nii.gz: the right hippocampus was not found (no voxel of id 53)" in text
    assert "small_T1w.nii.gz: the left hippocampus has 400 mm3; expected at least 500 mm3" in text
    assert "cut_T1w.nii.gz: the right hippocampus is cut off by the border of the image" in text
    assert "wide_T1w.nii.gz: the hippocampus found measures 52 x" in text
    assert [path.name for path in (tmp_path / "out").glob("*_dseg.nii.gz")] == ["good_desc-hippocampus_dseg.nii.gz"]


def test_fs60_labels_one_box_of_both_sides_and_says_that_it_has_no_weights(scan, tmp_path, weights, caplog):
    phantom.save_head(scan, SHAPE, LAS)
    network = {"_target_": "MedSegMamba", "out_channels": 25, "channels": [8, 8, 8], "depth": 1, "d_state": 2}
    parser = ConfigParser({"imports": ["$import monai_mamba"], "network": network})
    parser.get_parsed_content("imports")
    torch.manual_seed(0)
    torch.save(parser.get_parsed_content("network").state_dict(), tmp_path / "fs60.pt")
    options = {**OPTIONS, **weights, "roi_size": [48, 32, 32], "network_def": network, "input": str(scan)}
    options |= {"output_dir": str(tmp_path / "out"), "aseg": str(scan.parent / "aseg.nii.gz")}
    with caplog.at_level("INFO"):
        workflow("fs60_inference.json", **{**options, "weights": str(tmp_path / "fs60.pt")}).run()
    assert "Label scheme fs60" in caplog.text
    assert "no weights ship" in caplog.text
    found = np.asanyarray(nib.load(tmp_path / "out" / "sub-01_desc-hippocampusFS60_dseg.nii.gz").dataobj)
    assert set(np.unique(found)) <= set(LabelTable.load("hippocampus_fs60").ids)

    plain = {"weights": str(tmp_path / "fs60.pt"), "output_dir": str(tmp_path / "plain")}
    workflow("fs60_inference.json", **options | plain, written_table="hippocampus_fs60_plain").run()
    np.testing.assert_array_equal(
        np.asanyarray(nib.load(tmp_path / "plain" / "sub-01_desc-hippocampusFS60_dseg.nii.gz").dataobj), found % 1000
    )
    volumes = [tmp_path / name / "sub-01_desc-hippocampusFS60_volumes.tsv" for name in ("out", "plain")]
    assert volumes[0].read_text() == volumes[1].read_text()  # the table still tells the sides apart
    other = {**plain, "output_dir": str(tmp_path / "other")}
    with pytest.raises(RuntimeError) as caught:
        workflow("fs60_inference.json", **options | other, written_table="hippocampus_head_tail").run()
    assert "no id for Left-parasubiculum" in str(caught.value.__cause__)
    assert not list((tmp_path / "other").glob("*"))

    del options["weights"]
    with pytest.raises(RuntimeError) as caught:
        workflow("fs60_inference.json", **options).run()
    assert isinstance(caught.value.__cause__, WeightsError)
    assert isinstance(failure(scan, tmp_path / "out", label_scheme="fs60", **weights), InputError)


def test_metadata_agree_with_the_label_tables():
    metadata = json.loads((CONFIGS / "metadata.json").read_text())
    whole = LabelTable.load("hippocampus_head_tail")
    assert metadata["label_table"] == {str(entry.index): {"id": entry.id, "name": entry.name} for entry in whole}
    formats = metadata["network_data_format"]
    assert formats["outputs"]["pred"]["channel_def"] == {str(entry.index): entry.name for entry in whole}
    assert formats["post_processed_outputs"]["pred"]["channel_def"] == {str(entry.id): entry.name for entry in whole}


def test_the_head_is_seen_as_in_the_first_bundle():
    first, second = (
        json.loads((CONFIGS.parents[1] / bundle / "configs" / "inference.json").read_text())
        for bundle in ("subcortical", "hippocampal_subfields")
    )
    steps = first["preprocessing"]["transforms"]
    assert second["preprocessing"]["transforms"][: len(steps)] == steps
    assert second["first_network_def"] == first["network_def"]
    assert second["first_roi_size"] == first["roi_size"]
    assert first["windows"].keys() == second["first_windows"].keys()
    assert all(first["windows"][key] == second["first_windows"][key] for key in ("mode", "mirror_shift", "overlap"))
    assert first["inferer"].keys() == second["first_inferer"].keys()


def test_inference_and_training_use_one_network():
    inference, training = (json.loads((CONFIGS / name).read_text()) for name in ("inference.json", "train.json"))
    assert inference["network_def"] == training["network_def"]
    assert inference["roi_size"] == training["roi_size"]
