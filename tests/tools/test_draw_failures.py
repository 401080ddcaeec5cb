"""The pictures of failures through their command line, on scans whose failures are known."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread

TOOL = Path(__file__).resolve().parents[2] / "tools" / "draw_failures.py"
SHAPE, SPACING = (36, 40, 32), (1.0, 1.2, 0.9)
LEFT, RIGHT, STEM, CORPUS = 17, 53, 16, 251  # hippocampi, brain stem, and one that is not in the table
KINDS = ("images", "reference", "prediction")


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(TOOL.parent)
    return importlib.import_module(TOOL.stem)


@pytest.fixture
def run(tool, monkeypatch, capsys):
    """Runs the command in this process on a folder of sets; gives its exit status and what it printed."""

    def command(folder: Path, output_dir: Path, *arguments: object) -> tuple[int, str]:
        sets = [word for kind in KINDS for word in (f"--{kind}", folder / kind)]
        monkeypatch.setattr(sys, "argv", list(map(str, [TOOL, *sets, "--output_dir", output_dir, *arguments])))
        status = tool.main()
        captured = capsys.readouterr()
        return status, captured.err if status else captured.out

    return command


def label_map(left: int, right: int, stem: int | None) -> np.ndarray:
    """Bars of 4 x 8 x 4 voxels that begin so many voxels along the second axis."""
    labels = np.zeros(SHAPE, dtype=np.int16)
    labels[2, 2, 2] = CORPUS
    for label, across, start in ((LEFT, 8, left), (RIGHT, 24, right), (STEM, 16, stem)):
        if start is not None:
            labels[across : across + 4, start : start + 8, 14:18] = label
    return labels


def save(folder: Path, subject: str, prediction: np.ndarray, codes: str = "RAS") -> None:
    """Write a scan, its reference and a prediction, stored in some order of axes."""
    reference = label_map(20, 20, 20)
    image = (100 + 50 * np.sin(np.indices(SHAPE)).sum(axis=0)).astype(np.float32)
    for kind, volume in zip(KINDS, (image, reference, prediction), strict=True):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        turn = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
        )
        stored = nib.Nifti1Image(volume, np.diag([*SPACING, 1.0])).as_reoriented(turn)
        nib.save(stored, folder / kind / f"{subject}{'' if kind == 'images' else '_desc-x_dseg'}.nii.gz")


def test_the_worst_come_first_and_the_two_sides_of_a_structure_are_one(run, tmp_path):
    save(tmp_path, "good", label_map(20, 21, 20))
    save(tmp_path, "bad", label_map(22, 24, None))
    (tmp_path / "images" / "other.nii.gz").write_bytes((tmp_path / "images" / "bad.nii.gz").read_bytes())
    volume = 4 * 8 * 4 * np.prod(SPACING)
    expected = [
        f"bad: Brain-Stem, DSC 0.000, volume 0 mm3, in the reference {volume:.0f} mm3",
        f"bad: Right-Hippocampus, DSC 0.500, volume {volume:.0f} mm3, in the reference {volume:.0f} mm3",
        f"good: Right-Hippocampus, DSC 0.875, volume {volume:.0f} mm3, in the reference {volume:.0f} mm3",
    ]
    for number in (6, 2):
        status, printed = run(tmp_path, tmp_path / "out", "--worst", number)
        assert status == 0
        assert printed.splitlines() == [f"Wrote {tmp_path / 'out' / 'failures.png'}:", *expected[:number]]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["failures.png"]


def test_pictures_of_a_scan_stored_in_another_order_are_the_same(run, tmp_path):
    pictures = []
    for codes in ("RAS", "LIA", "PSL"):
        save(tmp_path / codes, "scan", label_map(23, 20, 24), codes)
        assert run(tmp_path / codes, tmp_path / codes)[0] == 0
        pictures.append(imread(tmp_path / codes / "failures.png"))
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures[1:])


def test_the_reference_stands_before_the_prediction_and_left_is_left(run, tmp_path):
    prediction = label_map(20, 20, 20)
    prediction[prediction == RIGHT] = 0
    save(tmp_path, "scan", prediction)
    assert run(tmp_path, tmp_path / "out")[0] == 0
    picture = imread(tmp_path / "out" / "failures.png")[..., :3]
    yellow = np.argwhere(picture[..., 0] - picture[..., 2] > 0.3)[:, 1]  # hippocampi are (220, 216, 20)
    column, place = np.divmod(yellow / picture.shape[1] * 3, 1)
    # An axial slice around the right one; the left one is at its left border, and is all that was found.
    assert set(column) == {1, 2}
    assert place[column == 1].min() < 0.3 < 0.5 < place[column == 1].max()
    assert place[column == 2].max() < 0.3


def test_the_part_shown_has_the_largest_difference_in_mm2(tool):
    reference = np.zeros((30, 30, 30), dtype=bool)
    reference[4:14, 5:15, 6:16] = True
    prediction = reference.copy()
    prediction[4:12, 5:13, 15] = False  # 8 x 8 voxels of an axial slice
    prediction[13, 5:15, 6:12] = False  # 10 x 6 voxels of a sagittal slice
    view, cut = tool.telling_part(reference, prediction, np.ones(3))
    assert view[0] == "axial"
    assert cut == (slice(0, 26), slice(0, 27), 15)
    view, cut = tool.telling_part(reference, prediction, np.array([1.0, 1.0, 2.0]))  # now 120 mm2 against 64
    assert view[0] == "sagittal"
    assert cut == (13, slice(0, 32), slice(0, 22))
    assert reference[cut].sum() == 100


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (None, ["--worst", 0], "--worst is 0, expected a whole number from 1"),
        (None, ["--labels", "nothing"], "There is no label table 'nothing'"),
        (None, ["--labels", "hippocampus_crop"], "Is it the right table?"),
        (
            "images",
            [],
            "--images IMAGES lacks scan, which has a prediction",
        ),
        ("grid", [], "its grid is (36, 40, 30) voxels"),
        ("image", [], "its values are not label ids"),
        ("missing", [], "prediction: no label map found"),
    ],
)
def test_sets_that_cannot_be_used_leave_no_picture(run, tmp_path, change, arguments, message):
    save(tmp_path, "scan", label_map(22, 24, None))
    path = tmp_path / "prediction" / "scan_desc-x_dseg.nii.gz"
    if change == "images":
        (tmp_path / "images" / "scan.nii.gz").rename(tmp_path / "images" / "other.nii.gz")
    elif change == "grid":
        nib.save(nib.load(path).slicer[..., :30], path)
    elif change == "image":
        path.write_bytes((tmp_path / "images" / "scan.nii.gz").read_bytes())
    elif change == "missing":
        path.unlink()
    status, printed = run(tmp_path, tmp_path / "out", *arguments)
    assert status == 1
    assert message.replace("IMAGES", str(tmp_path / "images")) in printed
    assert "Traceback" not in printed
    assert not list((tmp_path / "out").glob("*"))
