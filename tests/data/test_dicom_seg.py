"""DICOM Segmentations of label maps on DICOM series, read back with highdicom and with pydicom alone."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_phantom import IDENTITY, NAME, join_frames, sample, write_series
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from monai_mamba.data import find_scans
from monai_mamba.data.dicom_seg import OTHER, make_dicom_seg
from monai_mamba.data.image_file import open_image
from monai_mamba.errors import InputError
from monai_mamba.files import read_tsv
from monai_mamba.labels import LABEL_FOLDER, LabelEntry, LabelTable, without_side

highdicom = pytest.importorskip("highdicom", reason="the extra 'dicom-seg' is not installed")

VOXELS, AFFINE = sample()
VOXELS = VOXELS[14:26, 14:24, 10:20]
TILTED = AFFINE + np.outer(AFFINE[:, 1], [0, 0, 0.2, 0])
OBLIQUE = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, 0.2, 0.1) @ np.diag([0.9, 1.1, 3.3]), [5, -6, 7])
TABLE = LabelTable.load("subcortical", auxiliary=True)
HASH = "0123456789abcdef" * 4
# Every structure, and a slice without any.
TRUTH = np.random.default_rng(0).choice(TABLE.ids, VOXELS.shape)
TRUTH[:, :, 7] = 0


def on_grid_of(series: Path, labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Labels in the order in which the voxels of a series are read."""
    turn = nib.orientations.ornt_transform(*map(nib.io_orientation, (affine, open_image(series).affine)))
    return nib.apply_orientation(labels, turn)


def seg_of(folder: Path, affine: np.ndarray = AFFINE, table: LabelTable = TABLE) -> pydicom.FileDataset:
    """Write the labels `TRUTH` as DICOM Segmentation of the series in a folder, and read it."""
    series = folder / "series-3"
    path = folder.parent / "seg.dcm"
    path.write_bytes(make_dicom_seg(on_grid_of(series, TRUTH, affine), series, table, [HASH], "subcortical"))
    return pydicom.dcmread(path)


def jitter(header: Dataset, index: int) -> None:
    header.ImageOrientationPatient[1] += 1e-7 * index
    del header.SliceThickness


@pytest.mark.parametrize(
    ("affine", "change"),
    [
        (AFFINE, lambda header, index: None),
        (AFFINE @ np.diag([1, 1, -1, 1]), lambda header, index: None),
        (OBLIQUE, lambda header, index: None),
        (TILTED, jitter),
    ],
    ids=["sagittal", "reversed slices", "oblique", "gantry tilt, rounded directions"],
)
def test_voxels_are_those_of_the_label_map_on_the_slices_of_the_series(affine, change, tmp_path):
    files = write_series(tmp_path / "in", VOXELS, affine, change=change)
    seg = seg_of(tmp_path / "in", affine)
    headers = {header.SOPInstanceUID: header for header in map(pydicom.dcmread, files)}
    uids = list(headers)  # in the order of TRUTH

    found = np.zeros_like(TRUTH)
    for frame, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        assert position == headers[source].ImagePositionPatient
        entry = TABLE.structures[groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1]
        found[:, :, uids.index(source)] += entry.id * frame.T
    np.testing.assert_array_equal(found, TRUTH)
    shared = seg.SharedFunctionalGroupsSequence[0]
    first = headers[uids[0]]
    np.testing.assert_allclose(
        shared.PlaneOrientationSequence[0].ImageOrientationPatient, first.ImageOrientationPatient, atol=1e-5
    )
    assert shared.PixelMeasuresSequence[0].PixelSpacing == first.PixelSpacing
    assert (seg.StudyInstanceUID, seg.FrameOfReferenceUID) == (first.StudyInstanceUID, first.FrameOfReferenceUID)
    assert {uids[number] for number in range(10) if number != 7} <= {
        item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert seg.SeriesInstanceUID != first.SeriesInstanceUID == seg.ReferencedSeriesSequence[0].SeriesInstanceUID

    read = highdicom.seg.segread(tmp_path / "seg.dcm").get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True
    )
    ids = np.array([0, *(entry.id for entry in TABLE.structures)])
    np.testing.assert_array_equal(ids[read].transpose(2, 1, 0), TRUTH)


@pytest.mark.parametrize("shared", [(), ("PlaneOrientation", "PixelMeasures")], ids=["a frame", "shared"])
def test_frames_of_an_enhanced_file(shared, tmp_path):
    files = write_series(tmp_path / "in", VOXELS, OBLIQUE)
    order = [3, 1, 0, 2, 4, 5, 9, 7, 8, 6]
    join_frames([files[index] for index in order], tmp_path / "in" / "a.dcm", shared)
    (uid,) = {item.ReferencedSOPInstanceUID for item in seg_of(tmp_path / "in", OBLIQUE).SourceImageSequence}
    read = highdicom.seg.segread(tmp_path / "seg.dcm").get_pixels_by_source_frame(
        uid, range(1, 11), combine_segments=True, assert_missing_frames_are_empty=True
    )
    ids = np.array([0, *(entry.id for entry in TABLE.structures)])
    np.testing.assert_array_equal(ids[read].transpose(2, 1, 0), TRUTH[:, :, order])


def test_segments_have_names_codes_sides_and_colors(tmp_path):
    write_series(tmp_path / "in", VOXELS, AFFINE)
    red = LabelEntry(len(TABLE), 3000, "Something-else", (255, 0, 0, 255), written=True)
    seg = seg_of(tmp_path / "in", table=LabelTable((*TABLE, red)))
    segments = {item.SegmentLabel: item for item in seg.SegmentSequence}
    assert list(segments) == [*(entry.name for entry in TABLE.structures), "Something-else"]

    def code(segment: Dataset, sequence: str) -> tuple[str, str]:
        item = segment[sequence][0]
        return item.CodingSchemeDesignator, item.CodeValue

    left, right = segments["Left-Hippocampus"], segments["Right-Hippocampus"]
    for segment, side in ((left, "7771000"), (right, "24028007")):
        assert code(segment, "SegmentedPropertyTypeCodeSequence") == ("SCT", "5366008")
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        assert code(kind, "SegmentedPropertyTypeModifierCodeSequence") == ("SCT", side)
    assert code(left, "SegmentedPropertyCategoryCodeSequence") == ("SCT", "91723000")  # anatomical structure
    stem = segments["Brain-Stem"].SegmentedPropertyTypeCodeSequence[0]
    assert "SegmentedPropertyTypeModifierCodeSequence" not in stem
    other = segments["Something-else"]
    assert other.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Brain"
    # Red in CIELab for D50: 54.3, 80.8, 69.9.
    lightness, a, b = other.RecommendedDisplayCIELabValue
    found = [lightness * 100 / 65535, a * 255 / 65535 - 128, b * 255 / 65535 - 128]
    np.testing.assert_allclose(found, [54.3, 80.8, 69.9], atol=1)
    (algorithm,) = left.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == "monai-mamba"
    assert HASH in "".join(algorithm.AlgorithmParameters)


def test_every_structure_has_a_code_of_the_standard():
    rows = {row["structure"]: row for row in read_tsv(LABEL_FOLDER / "dicom_codes.tsv", "structure")}
    # The choroid plexus is in none of the two groups.
    known = [*codes.cid7140.concepts.values(), *codes.cid7153.concepts.values(), codes.SCT.StructureOfChoroidPlexus]
    known = {(code.scheme_designator, code.value, code.meaning) for code in known}
    for row in rows.values():
        assert (row["scheme"], row["code"], row["meaning"]) in known
        assert isinstance(getattr(codes.SCT, row["category"]), Code)
    for name in ("subcortical", "hippocampus_head_tail", "hippocampus_fs60"):
        for entry in LabelTable.load(name, auxiliary=True).structures:
            assert without_side(entry.name) in rows.keys() - {OTHER}


def test_the_patient_is_that_of_the_series_as_it_stands_there(tmp_path, caplog):
    def odd(header: Dataset, index: int) -> None:
        header.SpecificCharacterSet = "ISO_IR 100"
        header.PatientName, header.PatientID = "Müller^Jürgen", "x" * 70
        header.PatientSex, header.PatientBirthDate, header.StudyDate = "Z", "1950.01.02", "20261130"

    with disable_value_validation():
        write_series(tmp_path / "in", VOXELS, AFFINE, change=odd)
    series = tmp_path / "in" / "series-3"
    labels = on_grid_of(series, TRUTH, AFFINE)
    caplog.set_level(logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom's would name the patient, in the log, too
        content = make_dicom_seg(labels, series, TABLE, [HASH], "subcortical")
    assert not caplog.text
    seg = pydicom.dcmread(io.BytesIO(content))
    assert seg.PatientName == "Müller^Jürgen"
    assert (seg.PatientID, seg.PatientSex, seg.PatientBirthDate) == ("x" * 70, "Z", "1950.01.02")
    assert seg.StudyDate == "20261130"


def test_a_series_that_names_nobody_gives_a_segmentation_that_names_nobody(tmp_path):
    def anonymous(header: Dataset, index: int) -> None:
        del header.PatientName, header.PatientID

    write_series(tmp_path / "in", VOXELS, AFFINE, change=anonymous)
    seg = seg_of(tmp_path / "in")
    assert not seg.PatientName
    assert seg["PatientID"].value == ""  # there and empty, as the standard wants it


def without_frame(folder: Path) -> None:
    def change(header: Dataset, index: int) -> None:
        del header.FrameOfReferenceUID

    write_series(folder, VOXELS, AFFINE, change=change)


def in_two_files(folder: Path) -> None:
    files = write_series(folder, VOXELS, AFFINE)
    join_frames(files[::2], folder / "a.dcm")
    join_frames(files[1::2], folder / "b.dcm")


def as_nifti(folder: Path) -> None:
    folder.mkdir()
    nib.save(nib.Nifti1Image(VOXELS.astype(np.float32), AFFINE), folder / "scan.nii")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (without_frame, "series-3: its slices have no FrameOfReferenceUID, "),
        (in_two_files, "series-3: its slices are in several enhanced files"),
        (as_nifti, r"scan\.nii: no DICOM series, and --dicom_seg True refers to the slices of one"),
    ],
)
def test_what_no_segmentation_can_be_made_of_is_refused_before_anything_is_computed(make: Callable, message, tmp_path):
    make(tmp_path / "in")
    assert "problem" not in find_scans(str(tmp_path / "in"), str(tmp_path / "out"), "subcortical")[0]
    with pytest.raises(InputError, match=message) as caught:
        find_scans(str(tmp_path / "in"), str(tmp_path / "out"), "subcortical", dicom_seg=True)
    assert NAME not in str(caught.value)
    assert IDENTITY not in str(caught.value)


def test_without_highdicom_the_error_says_what_to_install(tmp_path, monkeypatch):
    write_series(tmp_path / "in", VOXELS, AFFINE)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(InputError, match="pip install highdicom"):
        find_scans(str(tmp_path / "in"), str(tmp_path / "out"), "subcortical", dicom_seg=True)
