"""The inference config of the subcortical bundle, from file to file, with a network that needs no training."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from head_phantom import LEFT, RIGHT, TISSUE_INDEX, IntensityNetwork, centered_affine, make_head, save_head
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.utils import set_determinism

from monai_mamba.data.aseg_stats import ICV
from monai_mamba.data.content import sources_of
from monai_mamba.data.image_file import checksum_of
from monai_mamba.errors import BatchError
from monai_mamba.labels import BRAIN, LabelTable

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "subcortical"
CONFIG = BUNDLE / "configs" / "inference.json"
SHAPES = {"a": (40, 44, 42), "b": (36, 40, 38)}
TISSUE_ID = LabelTable.load("subcortical").ids[TISSUE_INDEX]
ORIENTATIONS = [
    (axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]

pytestmark = pytest.mark.usefixtures("bfloat16")


@pytest.fixture
def weights(tmp_path) -> str:
    path = tmp_path / "weights.pt"
    torch.save(IntensityNetwork().state_dict(), path)
    return str(path)


def workflow(scans: Path | str, output_dir: Path, weights: str, **options: object) -> ConfigWorkflow:
    return ConfigWorkflow(
        str(CONFIG),
        workflow_type="infer",
        logging_file=False,
        input=str(scans),
        output_dir=str(output_dir),
        weights=weights,
        device="cpu",
        progress=False,
        network_def={"_target_": "head_phantom.IntensityNetwork"},
        mirror=False,  # this network tells left from right by intensity, which mirroring does not exchange
        roi_size=[64, 64, 64],  # all of it, with the margin
        **options,
    )


def run(*args: object, **options: object) -> None:
    bundle = workflow(*args, **options)
    bundle.initialize()
    bundle.run()


def dice(found: np.ndarray, expected: np.ndarray, label: int) -> float:
    a, b = found == label, expected == label
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def read_volumes(path: Path) -> dict[int | str, dict[str, str]]:
    with path.open() as file:
        return {
            int(row["id"]) if row["id"].isdecimal() else row["name"]: row
            for row in csv.DictReader(file, delimiter="\t")
        }


def segment(parser: ConfigParser, network: torch.nn.Module, path: Path) -> dict:
    """What a server such as MONAI Label runs: these three, without handlers, evaluator and metadata."""
    data = parser.get_parsed_content("preprocessing")({"image": str(path)})
    with torch.no_grad():
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network)[0]
    return parser.get_parsed_content("postprocessing")(data)


@pytest.fixture
def parser() -> ConfigParser:
    config = ConfigParser()
    config.read_config(str(CONFIG))
    config["roi_size"], config["progress"], config["mirror"] = [64, 64, 64], False, False
    return config


def doubts_of(table: Path) -> str:
    return read_volumes(table)[LEFT].get("doubts", "")


def test_scans_in_the_space_of_a_template_are_doubtful(tmp_path, weights, caplog):
    """Not those in another space of the person."""
    affine = centered_affine(SHAPES["a"], np.eye(3))
    for name, code in {"a_space-MNI152NLin2009cAsym_desc-preproc_T1w": 1, "b_space-T1w_T1w": 1, "c_T1w": 4}.items():
        image = nib.Nifti1Image(make_head(SHAPES["a"], affine)[0], affine)
        image.set_sform(affine, code)
        (tmp_path / "in").mkdir(exist_ok=True)
        nib.save(image, tmp_path / "in" / f"{name}.nii.gz")
    run(tmp_path / "in", tmp_path / "out", weights)
    found = {path.name[0]: doubts_of(path) for path in (tmp_path / "out").glob("*_volumes.tsv")}
    scaled = ": if it was scaled to that, volumes are not the person's"
    assert found == {
        "a": f"by its name (space-MNI152NLin2009cAsym) in the space of a template{scaled}",
        "b": "",
        "c": f"by its header in the space of a template (MNI152){scaled}",
    }
    assert found["c"] in caplog.text


def test_what_was_not_scanned_and_filled_up_cuts_structures_off(tmp_path, weights):
    """A whole head, one that ends within its left structure, and that one in a larger image of air."""
    shape, air = SHAPES["a"], [(6, 6)] * 3
    affine = centered_affine(shape, np.eye(3))
    head, labels = make_head(shape, affine)
    head += np.random.default_rng(0).uniform(0, 5, shape).astype(np.float32)
    last = np.argwhere(labels == LEFT).mean(axis=0).astype(int)[2]
    for name, image in {
        "whole": np.pad(head, air),
        "cut": head[..., last:],
        "filled": np.pad(head[..., last:], air),
    }.items():
        nib.save(nib.Nifti1Image(image, affine), tmp_path / f"{name}.nii.gz")
        run(tmp_path / f"{name}.nii.gz", tmp_path, weights)
    cut = "cut off by the border of the image, so that volumes are too small: Left-Hippocampus"
    found = {name: doubts_of(tmp_path / f"{name}_desc-subcortical_volumes.tsv") for name in ("whole", "cut", "filled")}
    assert found == {"whole": "", "cut": cut, "filled": cut}


def test_labels_agree_in_all_48_orientations(tmp_path, parser):
    shape = (42, 47, 40)  # odd and even, all different
    network, path = IntensityNetwork(), tmp_path / "scan.nii"
    affine = centered_affine(shape, np.eye(3))
    image, expected = make_head(shape, affine)
    conformed = None
    for axes, signs in ORIENTATIONS:
        turn = np.array(list(zip(axes, signs, strict=True)), dtype=float)
        turned = nib.Nifti1Image(
            nib.apply_orientation(image, turn), affine @ nib.orientations.inv_ornt_aff(turn, shape)
        )
        nib.save(turned, path)
        data = segment(parser, network, path)
        if conformed is None:
            conformed = data["image"]
        assert torch.equal(data["image"].as_tensor(), conformed.as_tensor()), (axes, signs)
        labels = data["pred"]
        assert labels.shape == (1, *turned.shape)
        np.testing.assert_array_equal(labels.affine.numpy(), turned.affine)
        # On a 1 mm grid nothing is resampled: every voxel is right.
        np.testing.assert_array_equal(labels[0].numpy(), nib.apply_orientation(expected, turn))


def rotation(degrees: float) -> np.ndarray:
    """Turned about two axes, as an oblique acquisition is."""
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


@pytest.mark.parametrize(
    ("shape", "matrix", "bound"),
    [
        ((54, 60, 52), np.diag([0.8, 0.8, 0.8]), 0.95),
        ((54, 60, 52), np.diag([-0.8, 0.8, -0.8]), 0.95),
        ((36, 40, 34), np.diag([1.2, 1.2, 1.2]), 0.93),
        ((60, 44, 20), np.diag([0.75, 1.0, 2.2]), 0.90),
        ((46, 50, 44), rotation(17), 0.95),
        ((44, 60, 22), rotation(-25) @ np.array([[0, 0, -2.0], [-0.8, 0, 0], [0, 0.9, 0]]).T, 0.88),
    ],
    ids=["0.8mm", "0.8mm-flipped", "1.2mm", "anisotropic", "oblique", "oblique-anisotropic-permuted"],
)
def test_labels_lie_where_the_structures_are(tmp_path, parser, shape, matrix, bound):
    path = tmp_path / "scan.nii.gz"
    expected = save_head(path, shape, matrix)
    labels = segment(parser, IntensityNetwork(), path)["pred"]
    assert labels.shape == (1, *shape)
    found = labels[0].numpy()
    for label in (LEFT, RIGHT):
        assert dice(found, expected, label) > bound
    assert set(np.unique(found)) <= {0, LEFT, RIGHT}


def test_results_are_on_the_grid_of_the_scan(tmp_path, weights):
    scan = tmp_path / "in" / "sub-01_T1w.nii.gz"
    scan.parent.mkdir()
    expected = save_head(scan, (40, 44, 42), np.diag([-1.1, 1.0, 0.9]))
    source = nib.load(scan)
    source.header.set_qform(source.affine, code=1)
    source.header.set_sform(source.affine, code=2)
    source.header["descrip"] = b"a name"
    nib.save(source, scan)
    run(scan, tmp_path / "out", weights)

    prefix = tmp_path / "out" / "sub-01_desc-subcortical"
    assert sorted(path.name for path in prefix.parent.iterdir()) == [
        f"{prefix.name}_dseg.nii.gz",
        f"{prefix.name}_picture.png",
        f"{prefix.name}_volumes.tsv",
    ]
    result, source = nib.load(f"{prefix}_dseg.nii.gz"), nib.load(scan)
    np.testing.assert_array_equal(result.affine, source.affine)
    np.testing.assert_array_equal(result.get_qform(), source.get_qform())
    assert (result.shape, result.get_data_dtype()) == (source.shape, np.uint8)
    assert [int(result.header[code]) for code in ("qform_code", "sform_code")] == [1, 2]
    assert sources_of(f"{prefix}_dseg.nii.gz") == {checksum_of(scan.read_bytes())}
    assert b"a name" not in result.header["descrip"].item()
    labels = np.asanyarray(result.dataobj)
    assert min(dice(labels, expected, label) for label in (LEFT, RIGHT)) > 0.93

    volumes = read_volumes(Path(f"{prefix}_volumes.tsv"))
    assert list(volumes) == [entry.id for entry in LabelTable.load("subcortical").structures]
    sphere = 4 / 3 * np.pi * 7**3
    for label in (LEFT, RIGHT):
        row = volumes[label]
        assert int(row["voxels"]) == (labels == label).sum()
        assert float(row["mm3"]) == pytest.approx(int(row["voxels"]) * 1.1 * 0.9, abs=0.06)
        assert float(row["mm3"]) == pytest.approx(sphere, rel=0.1)
        assert float(row["mm3_soft"]) == pytest.approx(sphere, rel=0.1)
    assert volumes[10]["mm3"] == volumes[10]["mm3_soft"] == "0.0"


def test_a_scan_whose_border_cuts_off_a_structure_does_not_pass(tmp_path, weights, caplog):
    scan, affine = tmp_path / "sub-01_T1w.nii.gz", centered_affine((40, 44, 42), np.eye(3))
    image, _ = make_head((40, 44, 42), affine)
    nib.save(nib.Nifti1Image(image[:32], affine), scan)  # the right one reaches from 25 to 39
    limits = tmp_path / "limits.tsv"
    limits.write_text(
        "name\tlow_mm3\thigh_mm3\thigh_asymmetry\tlow_expected_dsc\nLeft-Hippocampus\t1\t9999\tn/a\tn/a\n"
    )
    run(scan, tmp_path / "out", weights, quality_limits=str(limits))
    assert (
        "look at the result: cut off by the border of the image, so that volumes are too small: Right-" in caplog.text
    )


@pytest.mark.parametrize(("name", "is_calibrated"), [("model.pt", True), ("model_fold0.pt", False)])
def test_the_weights_that_ship_are_calibrated_whatever_their_path_is_called(name, is_calibrated, monkeypatch):
    monkeypatch.chdir(CONFIG.parents[1] / "models")
    workflow = ConfigWorkflow(str(CONFIG), workflow_type="infer", logging_file=False, weights=name)
    workflow.initialize()
    assert bool(workflow.parser.get_parsed_content("calibration")) == is_calibrated


def test_whole_brain_and_statistics(tmp_path, weights):
    scans, out = tmp_path / "in", tmp_path / "out"
    scans.mkdir()
    expected = {name: save_head(scans / f"{name}_T1w.nii.gz", shape, np.eye(3)) for name, shape in SHAPES.items()}
    run(scans, out, weights, stats=True, calibration=str(CONFIG.parent / "calibration.tsv"))
    with (out / "cases.tsv").open() as file:
        cases = list(csv.DictReader(file, delimiter="\t"))
    for case, (name, labels) in zip(cases, expected.items(), strict=True):
        labels[labels == 0] = TISSUE_ID
        labels[0, 0, 0] = 0  # air
        found = np.asanyarray(nib.load(out / f"{name}_desc-subcortical_dseg.nii.gz").dataobj)
        np.testing.assert_array_equal(found, labels)

        volumes = read_volumes(out / f"{name}_desc-subcortical_volumes.tsv")
        assert list(volumes) == [*(e.id for e in LabelTable.load("subcortical", auxiliary=True).structures), BRAIN, ICV]
        brain = np.count_nonzero(labels)
        assert (float(volumes[BRAIN]["mm3"]), volumes[BRAIN]["percent_of_brain"]) == (brain, "100.0000")
        assert float(volumes[LEFT]["percent_of_brain"]) == pytest.approx(100 * (labels == LEFT).sum() / brain, abs=1e-4)
        # The factors that ship are of the structures; nobody has compared white matter and cortex yet.
        assert volumes[TISSUE_ID]["expected_dsc"] == "n/a" != volumes[LEFT]["expected_dsc"]
        assert float(case["BrainSegVolNotVent"]) == float(case["BrainSegVol"]) == brain
        assert case["VentricleChoroidVol"] == "0.0"
        assert float(case["lhCerebralWhiteMatterVol"]) == (labels == TISSUE_ID).sum()
        # Unknown, because this head has two structures.
        assert case[ICV] == volumes[ICV]["mm3"] == volumes[LEFT]["percent_of_icv"] == "n/a"

        stats = (out / f"{name}_desc-subcortical_aseg.stats").read_text().splitlines()
        assert f"# subjectname {name}" in stats
        (row,) = (line.split() for line in stats if line.endswith("Left-Hippocampus"))
        assert row[1:4] == [str(LEFT), str((labels == LEFT).sum()), volumes[LEFT]["mm3"]]


def test_statistics_need_the_whole_brain(tmp_path, weights):
    save_head(tmp_path / "scan.nii", (32, 32, 32), np.eye(3))
    with pytest.raises(RuntimeError) as failure:
        run(tmp_path / "scan.nii", tmp_path / "out", weights, stats=True, whole_brain=False)
    assert "--stats True needs the volume of the whole brain" in str(failure.getrepr())
    assert not list((tmp_path / "out").iterdir())


def test_mgz_in_nifti_and_mgz_out(tmp_path, weights):
    scan = tmp_path / "scan.mgz"
    expected = save_head(scan, (40, 44, 42), np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]]))
    run(scan, tmp_path / "out", weights)
    result = nib.load(tmp_path / "out" / "scan_desc-subcortical_dseg.nii.gz")
    np.testing.assert_allclose(result.affine, nib.load(scan).affine, atol=1e-6)
    np.testing.assert_array_equal(np.asanyarray(result.dataobj), expected)
    result = nib.load(tmp_path / "out" / "scan_desc-subcortical_dseg.mgz")
    np.testing.assert_array_equal(result.affine, nib.load(scan).affine)
    np.testing.assert_array_equal(np.asanyarray(result.dataobj), expected)
    assert result.get_data_dtype() == np.uint8


def test_a_bad_scan_does_not_stop_the_others(tmp_path, weights, caplog, monkeypatch):
    outcomes = []
    monkeypatch.setattr("monai_mamba.engines.scan_evaluator.write_case_table", lambda _, cases: outcomes.extend(cases))
    scans, out = tmp_path / "in", tmp_path / "out"
    for name in ("a/scan.nii.gz", "b/scan.nii.gz", "c/scan.nii.gz"):
        (scans / name).parent.mkdir(parents=True)
        save_head(scans / name, (40, 44, 42), np.eye(3))
    constant = nib.Nifti1Image(np.ones((40, 44, 42), dtype=np.uint8), np.eye(4))
    nib.save(constant, scans / "a/scan.nii.gz")
    (scans / "b/scan.nii.gz").write_bytes(b"")
    with pytest.raises(RuntimeError) as failure:
        run(scans, out, weights)
    batch = failure.value
    while not isinstance(batch, BatchError):
        batch = batch.__cause__
    assert "2 of 3 scans failed" in str(batch)
    assert "every voxel is 1" in str(batch)
    assert "empty (0 bytes)" in str(batch)
    done = out / "c" / "scan_desc-subcortical_dseg.nii.gz"
    assert list(out.rglob("*.nii.gz")) == [done]
    errors = [outcome.error for outcome in outcomes if outcome.error]
    assert len(errors) == 2
    assert all(error.__traceback__ is error.__context__ is None for error in errors)  # or frames would keep the voxels

    # The finished one is not done again, unless asked.
    before = done.stat().st_mtime_ns
    run(scans / "c", out / "c", weights)
    assert done.stat().st_mtime_ns == before
    nothing_left = workflow(scans / "c", out / "c", weights)
    nothing_left.initialize()
    assert nothing_left.check_properties() == []
    run(scans / "c", out / "c", weights, overwrite=True)
    assert done.stat().st_mtime_ns > before


def test_the_network_of_the_bundle_runs(tmp_path):
    """The default network, with random weights, on the smallest window; each run gives the same labels."""
    set_determinism(0)
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "out"
    save_head(scan, (32, 32, 32), np.eye(3))
    config = ConfigParser.load_config_file(str(CONFIG))
    network = ConfigParser({"imports": config["imports"], "net": config["network_def"]})
    network.get_parsed_content("imports")
    torch.save(network.get_parsed_content("net").state_dict(), tmp_path / "weights.pt")
    set_determinism(None)
    labels = []
    for folder in ("first", "second"):
        bundle = workflow(scan, out / folder, str(tmp_path / "weights.pt"))
        bundle.parser["network_def"], bundle.parser["roi_size"] = config["network_def"], [32, 32, 32]
        bundle.initialize()
        bundle.run()
        labels.append(np.asanyarray(nib.load(out / folder / "scan_desc-subcortical_dseg.nii.gz").dataobj))
    np.testing.assert_array_equal(*labels)


@pytest.mark.parametrize("overlay", sorted(CONFIG.parent.glob("network_*.json")), ids=lambda path: path.stem)
def test_network_overlays_fit_the_label_table(overlay):
    parser = ConfigParser()
    parser.read_config([str(CONFIG), str(overlay)])
    with torch.device("meta"):
        network = parser.get_parsed_content("network_def")
    channels = parser["network_def"]["out_channels"]
    assert LabelTable.load("subcortical").for_channels(channels)
    # The last layer makes the classes, of each of 8 sub-voxels where the trunk works at half the resolution.
    assert list(network.parameters())[-1].shape[0] in (channels, 8 * channels)


def test_metadata_agree_with_the_label_table():
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text())
    table = LabelTable.load("subcortical")
    assert metadata["label_table"] == {
        str(entry.index): {"id": entry.id, "name": entry.name, "written": entry.written} for entry in table
    }
    data_format = metadata["network_data_format"]
    written = [entry for entry in table if entry.written]
    assert data_format["outputs"]["pred"]["channel_def"] == {str(entry.index): entry.name for entry in written}
    ids = {str(entry.id): entry.name for entry in written}
    assert data_format["post_processed_outputs"]["pred"]["channel_def"] == ids
    assert data_format["outputs"]["pred"]["num_channels"] == len(table)
