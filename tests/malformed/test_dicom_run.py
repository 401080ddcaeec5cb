"""A run from a DICOM folder to its results."""

from __future__ import annotations

import gzip
import hashlib
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_phantom import IDENTITY, NAME, write_series
from head_phantom import centered_affine, make_head, save_head
from test_malformed import SHAPE, failure, options, results, run

from monai_mamba.labels import LabelTable

__all__ = ["options"]  # a fixture

ID_OF = {entry.name: entry.id for entry in LabelTable.load("subcortical")}


def test_a_dicom_folder_gives_the_right_labels_and_nothing_names_the_patient(tmp_path, options, caplog):
    affine = centered_affine(SHAPE, np.diag([-1.0, 1, 1]))
    image, truth = make_head(SHAPE, affine)
    write_series(tmp_path / "in" / "scan", image.astype(np.int16), affine)
    with caplog.at_level(logging.INFO):
        run(tmp_path / "in", options)
    found = nib.load(tmp_path / "out" / "scan_series-3_desc-subcortical_dseg.nii.gz")
    expected = nib.as_closest_canonical(nib.Nifti1Image(truth, affine))
    np.testing.assert_allclose(nib.as_closest_canonical(found).affine, expected.affine, atol=1e-4)
    labels, expected = (np.asarray(nib.as_closest_canonical(item).dataobj).copy() for item in (found, expected))
    labels[-1, 0, 0] = 0  # the air of the phantom
    np.testing.assert_array_equal(labels, expected)
    files = results(tmp_path)
    assert len(files) == 3
    contents = [path.read_bytes() for path in files]
    text = b"".join(gzip.decompress(part) if part.startswith(b"\x1f\x8b") else part for part in contents)
    text += "".join(map(str, files)).encode() + caplog.text.encode()
    for word in (*NAME.split("^"), IDENTITY):
        assert word.encode() not in text


def test_a_dicom_segmentation_holds_the_labels_and_the_patient(tmp_path, options):
    pytest.importorskip("highdicom", reason="the extra 'dicom-seg' is not installed")
    affine = centered_affine(SHAPE, np.diag([-1.0, 1, 1]))
    write_series(tmp_path / "in" / "scan", make_head(SHAPE, affine)[0].astype(np.int16), affine)
    run(tmp_path / "in", {**options, "dicom_seg": True})
    prefix = str(tmp_path / "out" / "scan_series-3_desc-subcortical_dseg")
    seg = pydicom.dcmread(f"{prefix}.dcm")
    assert len(results(tmp_path)) == 4
    assert (seg.PatientName, seg.PatientID) == (NAME, IDENTITY)
    assert seg.SeriesDescription == "monai-mamba subcortical"
    assert seg.DeviceSerialNumber == hashlib.sha256(Path(options["weights"]).read_bytes()).hexdigest()
    labels = nib.load(f"{prefix}.nii.gz")
    found = np.zeros(SHAPE, np.uint8)
    for frame, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        place = np.array([-1, -1, 1]) * groups.PlanePositionSequence[0].ImagePositionPatient
        slice_number = round(nib.affines.apply_affine(np.linalg.inv(labels.affine), place)[2])
        structure = seg.SegmentSequence[groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1]
        found[:, :, slice_number] += ID_OF[structure.SegmentLabel] * frame.T
    assert found.any()
    np.testing.assert_array_equal(found, np.asarray(labels.dataobj))


def test_a_dicom_segmentation_is_refused_where_there_is_no_dicom(tmp_path, options):
    pytest.importorskip("highdicom", reason="the extra 'dicom-seg' is not installed")
    save_head(tmp_path / "scan.nii", SHAPE, np.eye(3))
    error = failure(tmp_path / "scan.nii", {**options, "dicom_seg": True})
    assert "scan.nii: no DICOM series, and --dicom_seg True refers to the slices of one" in str(error)
    assert results(tmp_path) == []
