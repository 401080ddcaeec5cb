"""The robustness report, on a phantom head with a network that needs no training."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import forked
import nibabel as nib
import numpy as np
import pytest
import torch
from head_phantom import LEFT, RIGHT, IntensityNetwork, save_head
from matplotlib.image import imread

from monai_mamba.labels import LabelTable
from monai_mamba.metrics.structure_scores import ABSENT_RULE

REPOSITORY = Path(__file__).resolve().parents[2]
TOOL = REPOSITORY / "tools" / "robustness.py"
BUNDLE = REPOSITORY / "bundles" / "subcortical"
SHAPE = (42, 46, 40)
TABLE = LabelTable.load("subcortical")
NETWORK = ["--network_def", "{'_target_':'head_phantom.IntensityNetwork'}", "--roi_size", "[64,64,64]"]
NETWORK += ["--mirror", "False", "--amp", "False", "--progress", "False", "--device", "cpu"]


@pytest.fixture(scope="module")
def tools():
    """The modules of the tool, imported as its command imports them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOOL.parent)
        import robustness
        from evaluation import robustness_conditions

        yield robustness, robustness_conditions


def call(tool, *arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
        patch.setenv("PYTHONPATH", str(REPOSITORY / "tests"))  # where the network of the phantom is
        patch.setattr(subprocess, "run", forked.run)
        return tool.main()


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    """Folder with a scan, with axes in an unusual order, and its label map."""
    folder = tmp_path_factory.mktemp("phantom")
    matrix = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])  # anterior, right, inferior
    labels = save_head(folder / "scan.nii.gz", SHAPE, matrix)
    scan = nib.load(folder / "scan.nii.gz")
    nib.save(nib.Nifti1Image(labels, scan.affine), folder / "labels.nii.gz")
    return folder


@pytest.fixture(scope="module")
def report(tools, phantom, tmp_path_factory) -> Path:
    """A report, in the folder `out`."""
    folder = tmp_path_factory.mktemp("report")
    torch.save(IntensityNetwork().state_dict(), folder / "weights.pt")
    arguments = ["--bundle", BUNDLE, "--input", phantom / "scan.nii.gz", "--reference", phantom / "labels.nii.gz"]
    arguments += ["--output_dir", folder / "out"]
    arguments += ["--conditions", "repeat", "orientation", "gamma", "mirror", "stripped"]
    assert call(tools[0], *arguments, "--", "--weights", folder / "weights.pt", *NETWORK) == 0
    return folder


def rows(report: Path) -> dict[tuple[str, int], dict[str, str]]:
    with (report / "out" / "robustness.csv").open(newline="") as file:
        return {(row["condition"], int(row["id"])): row for row in csv.DictReader(file)}


def test_equal_scans_have_equal_labels(report):
    exact = ["unaltered", "repeat", "stored-LAS", "stored-PSL"]
    found = rows(report)
    for name in exact:
        for label in (LEFT, RIGHT):
            row = found[name, label]
            numbers = [float(row[column]) for column in ("dsc", "grid_dsc", "reference_dsc", "volume_change_percent")]
            assert numbers == [1, 1, 1, 0], (name, label)
    paths = [report / "out" / "labels" / f"{name}_desc-subcortical_dseg.nii.gz" for name in exact]
    images = [nib.as_closest_canonical(nib.load(path)) for path in paths]
    assert len({nib.aff2axcodes(nib.load(path).affine) for path in paths}) == 3
    for image in images:
        np.testing.assert_array_equal(np.asarray(image.dataobj), np.asarray(images[0].dataobj))
        np.testing.assert_allclose(image.affine, images[0].affine, atol=1e-5)


def test_structures_that_are_lost_or_change_sides_show(report):
    found = rows(report)
    # 0.25, the dark structure's level, becomes 0.38 and is taken for tissue; 0.19 is still nearest to it.
    lost, kept = found["gamma-0.7", LEFT], found["gamma-1.2", LEFT]
    assert [float(lost[key]) for key in ("dsc", "volume_mm3", "volume_change_percent")] == [0, 0, -100]
    assert [float(kept[key]) for key in ("dsc", "volume_change_percent")] == [1, 0]
    assert float(found["gamma-0.7", RIGHT]["dsc"]) == 1
    # This network names the dark structure left wherever it lies: after the way back, sides are exchanged.
    volumes = {label: float(found["unaltered", label]["volume_mm3"]) for label in (LEFT, RIGHT)}
    for label, other in ((LEFT, RIGHT), (RIGHT, LEFT)):
        assert float(found["mirror", label]["dsc"]) == float(found["mirror", label]["reference_dsc"]) == 0
        assert float(found["mirror", label]["volume_mm3"]) == volumes[other]
    assert volumes[LEFT] == pytest.approx(4 / 3 * np.pi * 7**3, rel=0.05)


def test_report_names_conditions_rule_and_worst_structure(report):
    out = report / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "conditions.tsv",
        "labels",
        "report.md",
        "robustness.csv",
        "robustness.png",
    ]
    text = (out / "report.md").read_text()
    assert ABSENT_RULE in text
    assert "The labels of repeat, stored-LAS, stored-PSL must not differ in any voxel. They do not." in text
    assert "Left out, 'stripped'" in text  # the label map covers two structures, not the brain
    line = next(line for line in text.splitlines() if "power of 0.7" in line)
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    lost = int(float(rows(report)["unaltered", LEFT]["volume_mm3"]))
    expected = f"{float(rows(report)['gamma-0.7', RIGHT]['expected_dsc']):.3f}"
    assert cells == ["intensities to the power of 0.7", "0.500", "1.000", "50.0", "0.500", expected]
    with (out / "conditions.tsv").open(newline="") as file:
        (row,) = [row for row in csv.DictReader(file, delimiter="\t") if "power of 0.7" in row["condition"]]
    assert list(row.values()) == [
        *("intensities to the power of 0.7", "0.500", "0.000", "Left-Hippocampus", "1.000", "50.0", "-100.0"),
        *("Left-Hippocampus", str(lost), "0.500", expected),
    ]
    assert imread(out / "robustness.png").std() > 0


def test_what_the_network_expects_is_compared_with_what_is_found(tools):
    tool = sys.modules["evaluation.robustness_report"]
    condition = tool.Condition("unaltered", "unaltered", "the scan as it is", None)

    def result(*pairs: tuple[list[float], list[float]]) -> object:
        ones = np.ones(2)
        outcomes = [
            tool.Outcome(condition, "", ones, ones, ones, np.array(found), np.array(expected), 0)
            for found, expected in pairs
        ]
        return tool.Robustness({}, list(LabelTable.load("subcortical").structures[:2]), outcomes, ())

    agreeing = result(([0.9, 0.8], [0.95, 0.9]), ([0.7, 0.6], [0.85, 0.8]), ([0.4, 0.1], [0.7, 0.5]))
    opposed = result(([0.9, 0.8], [0.5, 0.7]), ([0.7, 0.6], [0.8, 0.85]), ([0.4, 0.1], [0.9, 0.95]))
    for given, number in ((agreeing, "1.00"), (opposed, "-1.00")):
        text = tool.foresight(given)
        assert text.endswith(f"{number} over the means of the 3 scans, {number} over all 6 structures.")
    silent = result(*(([0.9, 0.8], [np.nan, np.nan]) for _ in range(3)))
    assert tool.foresight(silent) is None
    assert "expected" not in tool.report_files(silent)["report.md"].lower()


@pytest.mark.parametrize("label", [LEFT, RIGHT])
def test_labels_come_back_from_every_condition(tools, phantom, tmp_path, label):
    """A structure is found again where it was; bounds: voxels at the border of a sphere of 7 mm."""
    _, conditions = tools
    bounds = {"spacing": 0.88, "slices": 0.9, "shift": 0.88}
    affine = nib.load(phantom / "labels.nii.gz").affine
    structure = np.asarray(nib.load(phantom / "labels.nii.gz").dataobj) == label
    expected = np.where(structure, label, 0)
    values = structure.astype(np.float32)
    values[0, 0, 0] = 0.25  # two values alone are a mask
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "structure.nii")
    scan = conditions.load_scan(tmp_path / "structure.nii", nib.Nifti1Image(np.ones(SHAPE, np.uint8), affine))
    where_it_is_stored = {}
    for condition in conditions.CONDITIONS:
        if condition.group in ("noise", "bias", "gamma"):
            continue
        image, change = condition.alter(scan)
        shown = {LEFT: RIGHT, RIGHT: LEFT}[label] if change.mirrored else label
        labels = nib.Nifti1Image(np.where(np.asarray(image.dataobj) > 0.5, shown, 0).astype(np.uint8), image.affine)
        ids, moved_back = change.undo(labels, TABLE)
        overlap = overlap_in_space(ids, moved_back, expected, affine)
        assert overlap > bounds.get(condition.group, 0.93), condition.name
        assert overlap == 1 or not condition.exact
        as_stored = np.where(np.asarray(labels.dataobj) > 0, label, 0)
        where_it_is_stored[condition.name] = overlap_in_space(as_stored, image.affine, expected, affine)
    # The head was really moved, and where only the grid was turned it was not.
    assert where_it_is_stored["head-turned-15"] < 0.75
    assert where_it_is_stored["mirror"] == 0
    assert where_it_is_stored["grid-oblique-15"] > 0.93


def overlap_in_space(ids: np.ndarray, place: np.ndarray, expected: np.ndarray, affine: np.ndarray) -> float:
    maps = [(ids, place), (expected, affine)]
    scores = sys.modules["evaluation.robustness_report"]
    shape, grid = scores.fine_grid(maps, SHAPE, affine)
    one, other = (scores.onto_grid(values, where, shape, grid) for values, where in maps)
    return scores.overlaps(one, other, [expected.max()])[0]


def test_geometry_and_intensities_are_those_named(tools, phantom):
    _, conditions = tools
    scan = conditions.load_scan(phantom / "scan.nii.gz", None)
    altered = {
        condition.name: condition.alter(scan) for condition in conditions.CONDITIONS if condition.name != "stripped"
    }
    image = {name: made for name, (made, _) in altered.items()}
    sizes = {name: nib.affines.voxel_sizes(made.affine) for name, made in image.items()}
    np.testing.assert_allclose(sizes["1.5mm"], 1.5)
    for name, axis in (("sagittal", 0), ("coronal", 1), ("axial", 2)):
        directions = np.abs(image[f"{name}-3mm"].affine[axis, :3])
        assert directions.max() == pytest.approx(3.0)
        assert sorted(sizes[f"{name}-3mm"]) == pytest.approx([1, 1, 3])
    assert nib.aff2axcodes(image["stored-PSL"].affine) == ("P", "S", "L")
    angle = np.degrees(np.arccos((np.trace(image["grid-oblique-15"].affine[:3, :3]) - 1) / 2))
    assert angle == pytest.approx(15)
    np.testing.assert_allclose(np.abs(image["head-oblique-15"].affine[:3, :3]), np.eye(3), atol=1e-6)
    np.testing.assert_allclose(image["shift-0.5"].affine[:3, 3] - np.asarray(scan.image.affine)[:3, 3], 0.5)
    whole, flat = np.asarray(scan.image[0]), np.asarray(scan.image[0]) == 500
    for ratio in (20, 10):  # at 5 the noise of the magnitude is no longer Gaussian
        noisy = np.asarray(image[f"snr-{ratio}"].dataobj)[flat]
        assert noisy.std() == pytest.approx(np.median(whole[whole > whole.mean()]) / ratio, rel=0.05)
    ranges = [np.ptp(np.log(np.asarray(image[f"bias-{s}"].dataobj)[flat])) for s in (0.1, 0.2, 0.4)]
    np.testing.assert_allclose(ranges, ranges[0] * np.array([1, 2, 4]), rtol=1e-3)
    assert "of the median" in altered["bias-0.2"][1].detail
    again = conditions.CONDITIONS[[c.name for c in conditions.CONDITIONS].index("snr-10")].alter(scan)[0]
    np.testing.assert_array_equal(np.asarray(again.dataobj), np.asarray(image["snr-10"].dataobj))


def test_stripping_keeps_the_brain_only(tools, phantom):
    _, conditions = tools
    labels = np.zeros((100, 100, 100), dtype=np.uint8)
    labels[10:90, 10:90, 10:90] = 1
    labels[40:50, 40:50, 40:50] = 0  # without a label, but inside
    brain = np.asarray(conditions.brain_of(nib.Nifti1Image(labels, np.eye(4))).dataobj)
    assert brain[45, 45, 45]
    assert brain[8, 50, 50]
    assert not brain[7, 50, 50]
    assert conditions.brain_of(nib.Nifti1Image(labels[:, :, :50], np.eye(4))) is None

    affine = nib.load(phantom / "scan.nii.gz").affine
    mask = np.zeros(SHAPE, np.uint8)
    mask[5:20, 10:30, 7:30] = 1
    scan = conditions.load_scan(phantom / "scan.nii.gz", nib.Nifti1Image(mask, affine))
    altered, _ = next(c for c in conditions.CONDITIONS if c.name == "stripped").alter(scan)
    before = np.asarray(scan.image[0])
    after = conditions.onto_grid(np.asarray(altered.dataobj).astype(np.int32), altered.affine, SHAPE, affine)
    stored = np.asarray(nib.load(phantom / "scan.nii.gz").dataobj)
    np.testing.assert_array_equal(after, np.where(mask, stored, 0).astype(np.int32))
    assert np.asarray(altered.dataobj).shape == before.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--bundle": "nothing"}, "Give the folder of a bundle"),
        ({"--input": "nothing.nii.gz"}, "there is no such file"),
        ({"--reference": "SCAN"}, "none|its values are not label ids"),
        ({"--conditions": "stripped"}, "No condition is left to measure"),
    ],
)
def test_inputs_that_cannot_be_used(tools, phantom, tmp_path, capsys, change, message):
    scan = tmp_path / "scan.nii.gz"
    shutil.copy(phantom / "scan.nii.gz", scan)
    noise = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), tmp_path / "noise.nii.gz")
    options = {"--bundle": BUNDLE, "--input": scan, "--output_dir": tmp_path / "out", **change}
    options = {key: tmp_path / "noise.nii.gz" if value == "SCAN" else value for key, value in options.items()}
    assert call(tools[0], *(word for pair in options.items() for word in pair)) == 1
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    assert any(part in printed for part in message.split("|")), printed
    assert not (tmp_path / "out").exists()


def test_a_run_that_fails_leaves_no_report(tools, phantom, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    arguments = ["--bundle", BUNDLE, "--input", phantom / "scan.nii.gz", "--output_dir", tmp_path / "out"]
    assert call(tools[0], *arguments, "--conditions", "repeat", "--", "--device", "cpu") == 1
    printed = capsys.readouterr().err
    assert "the run of the bundle ended with status 1" in printed
    assert "--overwrite True --device cpu" in printed
    assert not list((tmp_path / "out").iterdir())
