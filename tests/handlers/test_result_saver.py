"""Result files: complete or not there, on the grid of the scan, left on the left."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_mamba.data.image_file import GOOD_RAS_FLAG, parse_image
from monai_mamba.data.scans import RESULTS
from monai_mamba.errors import OutputError
from monai_mamba.files import read_tsv
from monai_mamba.handlers import ResultSaver, TumorResultSaver
from monai_mamba.handlers.result_saver import label_image, mgh_label_image
from monai_mamba.labels import LabelTable

TABLE = LabelTable.load("subcortical")
THALAMUS, PUTAMEN = 10, 12


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


def test_a_name_with_quotation_marks_is_read_as_it_is(tmp_path):
    core = LabelTable((TABLE.entries[0], replace(TABLE.structures[0], index=1, name='"Core" of the thalamus')))
    nib.save(nib.Nifti1Image(np.ones((10, 11, 12), np.float32), np.eye(4)), tmp_path / "scan.nii")
    ResultSaver(core).save(prediction(tmp_path / "scan.nii", np.zeros((10, 11, 12), np.uint8)), str(tmp_path / "x"))
    (row,) = read_tsv(tmp_path / f"x{RESULTS['volumes']}")
    assert row["name"] == core.names[1]


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


@pytest.mark.parametrize("written_ids", [None, {entry.id: entry.id + 100 for entry in TABLE}])
def test_an_mgz_carries_names_and_colors_of_its_labels(tmp_path, written_ids):
    scan, labels = nib.MGHImage(np.ones((4, 5, 6), np.float32), np.eye(4)), np.full((4, 5, 6), THALAMUS, np.uint8)
    nib.save(scan, tmp_path / "scan.mgz")
    saver = ResultSaver("subcortical", written_ids=written_ids)
    saver.save(prediction(tmp_path / "scan.mgz", labels), str(tmp_path / "scan"))
    image = nib.load(tmp_path / "scan_dseg.mgz")
    voxels = np.asanyarray(image.dataobj)
    assert set(voxels.ravel()) == {THALAMUS if written_ids is None else written_ids[THALAMUS]}

    # Behind header, voxels and scan parameters; the same bytes end an annotation, here of one vertex.
    tags = gzip.decompress((tmp_path / "scan_dseg.mgz").read_bytes())[284 + voxels.nbytes + 20 :]
    (tmp_path / "lh.annot").write_bytes(np.array([1, 0, 0], ">i4").tobytes() + tags)
    _, colors, names = nib.freesurfer.read_annot(tmp_path / "lh.annot", orig_ids=True)
    assert [name.decode() for name in names] == [entry.name for entry in TABLE.structures]
    for entry in TABLE.structures:
        label = entry.id if written_ids is None else written_ids[entry.id]
        assert tuple(colors[label, :4]) == (*entry.color[:3], 255 - entry.color[3])


def test_an_mgz_of_an_earlier_run_is_removed(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((10, 11, 12), np.float32), np.eye(4)), tmp_path / "scan.nii")
    (tmp_path / "x_dseg.mgz").touch()
    ResultSaver("subcortical").save(
        prediction(tmp_path / "scan.nii", np.ones((10, 11, 12), np.uint8)), str(tmp_path / "x")
    )
    assert sorted(path.name for path in tmp_path.glob("x*")) == sorted(f"x{end}" for end in RESULTS.values())


def test_volumes_are_those_of_regions_and_of_labels(tmp_path):
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    labels = np.zeros((10, 11, 12), np.uint8)
    labels[:3], labels[3:5], labels[5] = 2, 1, 3  # edema, necrotic core, enhancing tumor
    nib.save(nib.Nifti1Image(np.ones(labels.shape, np.float32), affine), tmp_path / "scan.nii")
    meta = {"filename_or_obj": str(tmp_path / "scan.nii"), "modalities": "FLAIR+T2", "doubts": ""}
    prediction = MetaTensor(torch.from_numpy(labels)[None], meta=meta)
    TumorResultSaver("brats2023").save(prediction, str(tmp_path / "x"))
    rows = {row["name"]: row for row in read_tsv(tmp_path / "x_volumes.tsv")}
    slab = 11 * 12
    for region, ids, slabs in (("WT", "1+2+3", 6), ("TC", "1+3", 3), ("ET", "3", 1)):
        (row,) = (row for name, row in rows.items() if name.endswith(f"({region})"))
        assert (row["labels"], row["voxels"], row["mm3"]) == (ids, str(slabs * slab), f"{2.0 * slabs * slab:.1f}")
    assert len(rows) == 6
    assert {row["modalities"] for row in rows.values()} == {"FLAIR+T2"}
    assert {row["doubts"] for row in rows.values()} == {"n/a"}
