"""Result files: complete or not there, on the grid of the scan, left on the left."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from matplotlib.image import imread
from monai.data import MetaTensor

from monai_mamba.data.image_file import GOOD_RAS_FLAG, parse_image
from monai_mamba.data.scans import RESULTS
from monai_mamba.errors import OutputError
from monai_mamba.handlers import ResultSaver
from monai_mamba.handlers.result_saver import label_image, mgh_label_image
from monai_mamba.labels import LabelTable
from monai_mamba.picture import OPACITY, draw_labels

TABLE = LabelTable.load("subcortical")
THALAMUS, PUTAMEN = 10, 12  # green and magenta: each is found in the picture by its color


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LIA", "PSR"])
def test_the_left_of_the_patient_is_left_in_the_picture(tmp_path, codes):
    labels = np.zeros((40, 44, 42), dtype=np.uint8)
    labels[4:14, 18:28, 26:36] = THALAMUS  # left and high, in RAS
    labels[26:36, 18:28, 6:16] = PUTAMEN  # right and low
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes))
    affine = np.eye(4) @ nib.orientations.inv_ornt_aff(turn, labels.shape)
    source = nib.Nifti1Image(np.full(nib.apply_orientation(labels, turn).shape, 50, dtype=np.uint8), affine)
    draw_labels(tmp_path / "picture.png", source, nib.apply_orientation(labels, turn), TABLE)
    picture = imread(tmp_path / "picture.png")[..., :3]
    picture = picture[picture.shape[0] // 2 :]  # the row with labels
    green = np.argwhere(picture[..., 1] - picture[..., 0] > 0.15)
    magenta = np.argwhere(picture[..., 0] - picture[..., 1] > 0.15)
    thirds = picture.shape[1] // 3
    for column in (1, 2):  # coronal and axial
        one, other = (
            found[(found[:, 1] >= column * thirds) & (found[:, 1] < (column + 1) * thirds)]
            for found in (green, magenta)
        )
        if len(one) and len(other):
            assert one[:, 1].max() < other[:, 1].min()
        if column == 1:
            assert len(one) > 500
            assert len(other) > 500
            assert one[:, 0].max() < other[:, 0].min()  # high is up


def prediction(path: Path, labels: np.ndarray) -> MetaTensor:
    meta = {"filename_or_obj": str(path), "soft_volumes": {entry.id: 1.25 for entry in TABLE.structures}}
    meta["expected_dsc"] = {entry.id: 0.75 for entry in TABLE.structures}
    return MetaTensor(torch.from_numpy(labels)[None], meta=meta)


def test_volumes_count_voxels_in_cubic_millimeters(tmp_path):
    labels = np.zeros((10, 11, 12), dtype=np.uint8)
    labels[:2, :3, :4] = THALAMUS
    affine = np.diag([2.0, 0.5, 1.5, 1.0])
    nib.save(nib.Nifti1Image(np.ones((10, 11, 12), np.float32), affine), tmp_path / "scan.nii")
    ResultSaver("subcortical").save(prediction(tmp_path / "scan.nii", labels), str(tmp_path / "deep" / "er" / "scan"))
    lines = (tmp_path / "deep" / "er" / f"scan{RESULTS['volumes']}").read_text().splitlines()
    assert lines[0] == "id\tname\tvoxels\tmm3\tmm3_soft\texpected_dsc"
    assert len(lines) == 1 + len(TABLE.structures)
    assert f"{THALAMUS}\tLeft-Thalamus\t24\t36.0\t1.2\t0.750" in lines
    assert f"{PUTAMEN}\tLeft-Putamen\t0\t0.0\t1.2\tn/a" in lines


def test_a_full_disk_leaves_nothing_under_a_final_name(tmp_path, monkeypatch):
    (tmp_path / f"x{RESULTS['labels']}").write_bytes(b"of an earlier run")
    nib.save(nib.Nifti1Image(np.ones((10, 11, 12), np.float32), np.eye(4)), tmp_path / "scan.nii")

    def full(image: nib.Nifti1Image, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(nib, "save", full)
        with pytest.raises(OutputError, match="No space left on device"):
            ResultSaver("subcortical").save(
                prediction(tmp_path / "scan.nii", np.ones((10, 11, 12), np.uint8)), str(tmp_path / "x")
            )
    assert not [path for path in tmp_path.iterdir() if path.name.endswith((".gz", ".gz.tmp"))]


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_sform_and_qform_are_kept_where_they_differ(kind):
    source = kind(np.ones((4, 5, 6), np.int16), None)
    source.set_qform(np.diag([-1.5, 1.5, 1.5, 1.0]), code=1)
    sheared = np.array([[1.5, 0.2, 0, 3], [0, 1.5, 0, 4], [0, 0, 1.5, 5], [0, 0, 0, 1]])
    source.set_sform(sheared, code=3, update_affine=True)
    image = label_image(np.zeros((4, 5, 6), np.uint8), source)
    image = kind.from_bytes(image.to_bytes())
    np.testing.assert_array_equal(image.affine, source.affine)
    np.testing.assert_array_equal(image.get_qform(), source.get_qform())
    assert [int(image.header[code]) for code in ("qform_code", "sform_code")] == [1, 3]
    np.testing.assert_array_equal(image.header.get_zooms(), source.header.get_zooms())


@pytest.mark.parametrize("flag", [0, 1])
def test_an_mgh_label_map_has_the_grid_of_the_scan_and_no_tags_of_it(flag):
    affine = np.array([[-1.0, 0, 0, 3], [0, 0, 1, -4], [0, -1, 0, 5], [0, 0, 0, 1]])  # LIA
    content = bytearray(nib.MGHImage(np.ones((4, 5, 6), np.float32), affine).to_bytes())
    content[GOOD_RAS_FLAG : GOOD_RAS_FLAG + 2] = flag.to_bytes(2, "big")
    source = parse_image("scan.mgh", bytes(content) + b"tags with the name of a person")
    for kind, stored in ((np.uint8, np.uint8), (np.uint16, np.int32)):
        labels = np.arange(120).reshape(4, 5, 6).astype(kind)
        written = mgh_label_image(labels, source).to_bytes()
        image = parse_image("labels.mgh", written)
        np.testing.assert_array_equal(image.affine, source.affine)
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), labels)
        assert (image.get_data_dtype().newbyteorder("="), int(image.header["goodRASFlag"])) == (stored, flag)
        assert b"person" not in written


def test_an_mgz_of_an_earlier_run_is_removed(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((10, 11, 12), np.float32), np.eye(4)), tmp_path / "scan.nii")
    (tmp_path / "x_dseg.mgz").touch()
    ResultSaver("subcortical").save(
        prediction(tmp_path / "scan.nii", np.ones((10, 11, 12), np.uint8)), str(tmp_path / "x")
    )
    assert sorted(path.name for path in tmp_path.glob("x*")) == sorted(f"x{end}" for end in RESULTS.values())


def test_the_picture_shows_most_structures(tmp_path):
    """A large structure at one end does not draw the slices away from two small ones."""
    labels = np.zeros((30, 30, 30), dtype=np.uint8)
    labels[2:12, 2:28, 2:28] = THALAMUS
    labels[20:24, 6:12, 10:20], labels[20:24, 18:24, 10:20] = PUTAMEN, 17
    draw_labels(tmp_path / "picture.png", nib.Nifti1Image(np.ones((30, 30, 30), np.float32), np.eye(4)), labels, TABLE)
    picture = imread(tmp_path / "picture.png")[..., :3]
    sagittal = picture[:, : picture.shape[1] // 3].reshape(-1, 3)
    colors = {entry.id: np.array(entry.color[:3]) / 255 for entry in TABLE.structures}
    seen = {
        structure: np.sum(np.abs(sagittal - (OPACITY * colors[structure] + (1 - OPACITY))).max(axis=1) < 0.02)
        for structure in (THALAMUS, PUTAMEN, 17)
    }
    assert seen[PUTAMEN] > 100
    assert seen[17] > 100
    assert seen[THALAMUS] == 0


def test_a_voxel_that_is_not_finite_does_not_spoil_the_picture(tmp_path):
    labels = np.zeros((12, 14, 16), dtype=np.uint8)
    pictures = []
    for bad in (0.0, np.nan, np.inf, -np.inf):
        data = np.random.default_rng(0).uniform(1, 100, labels.shape).astype(np.float32)
        data[6, 7, 8] = bad  # in all three slices
        draw_labels(tmp_path / "picture.png", nib.Nifti1Image(data, np.eye(4)), labels, TABLE)
        pictures.append(imread(tmp_path / "picture.png"))
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])
