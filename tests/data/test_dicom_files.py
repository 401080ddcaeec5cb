"""Files of DICOM: compressed ones, and enhanced ones of many frames, made from the scan that ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_phantom import GROUPS, IDENTITY, NAME, join_frames, sample, write_series
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from monai_mamba.data import find_scans
from monai_mamba.data.image_file import read_image
from monai_mamba.errors import InputError

VOXELS, AFFINE = sample()
VOXELS = VOXELS[14:26, 14:24, 10:20]
TILTED = AFFINE + np.outer(AFFINE[:, 1], [0, 0, 0.2, 0])
SHUFFLED = [3, 1, 0, 2, 4, 5, 9, 7, 8, 6]


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
    ],
)
def test_compressed_slices_are_read(name, tmp_path):
    """Files that come with pydicom; the slice is repeated at other places."""
    expected = pydicom.dcmread(get_testdata_file("MR_small.dcm")).pixel_array
    for index in range(8):
        header = pydicom.dcmread(get_testdata_file(name))
        header.ImagePositionPatient[2] += 2 * index
        header.save_as(tmp_path / f"{index}")
    voxels = np.asarray(read_image(tmp_path / "series-1").dataobj)
    np.testing.assert_array_equal(voxels[:, :, 0], expected.T)


def test_an_unknown_compression_is_refused_when_voxels_are_read(tmp_path):
    def unknown(header: Dataset, index: int) -> None:
        header.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
        header.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
        header["PixelData"].VR = "OB"

    write_series(tmp_path / "scan", VOXELS, AFFINE, change=unknown)
    with pytest.raises(InputError, match=r"series-3: its slices cannot be read, .* that ITK does not know"):
        read_image(tmp_path / "scan" / "series-3")


def scale(header: Dataset, index: int) -> None:
    header.RescaleSlope, header.RescaleIntercept = 2, -5


def found(folder: Path) -> list[dict]:
    return find_scans(str(folder), str(folder.parent / "out"), "subcortical")


@pytest.mark.parametrize(
    ("files", "shared"), [(1, ("PlaneOrientation", "PixelMeasures")), (2, tuple(GROUPS)[1:]), (10, ())]
)
def test_frames_lie_where_each_of_them_says(files, shared, tmp_path):
    """Frames in one enhanced file, in two, and in one a slice; the gantry is tilted."""
    slices = write_series(tmp_path / "scan", VOXELS, TILTED, change=scale)
    slices = [slices[index] for index in SHUFFLED]
    for number in range(files):
        join_frames(slices[number::files], tmp_path / "scan" / f"{number}.dcm", shared)
    (item,) = found(tmp_path / "scan")
    image = read_image(item["image"])
    assert item["image"].endswith("series-3")
    expected = nib.as_closest_canonical(nib.Nifti1Image(VOXELS * 2 - 5, TILTED))
    image = nib.as_closest_canonical(image)
    np.testing.assert_array_equal(np.asarray(image.dataobj), np.asarray(expected.dataobj))
    np.testing.assert_allclose(image.affine, expected.affine, atol=1e-4)


def test_compressed_frames_are_read(tmp_path):
    path = tmp_path / "scan" / "a.dcm"
    join_frames(write_series(tmp_path / "scan", VOXELS, AFFINE, number=4), path)
    expected = np.asarray(read_image(path.parent / "series-4").dataobj)
    header = pydicom.dcmread(path)
    header.compress(RLELossless)
    header.save_as(path)
    np.testing.assert_array_equal(np.asarray(read_image(path.parent / "series-4").dataobj), expected)
    assert expected.max() > 0


def uneven(header: Dataset, index: int) -> None:
    header.ImagePositionPatient[2] += 1.3 if index > 4 else 0


def turned(header: Dataset, index: int) -> None:
    if index > 4:
        header.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def scaled(header: Dataset, index: int) -> None:
    header.RescaleSlope, header.RescaleIntercept = index + 1, 0


def at_one_place(header: Dataset, index: int) -> None:
    header.ImagePositionPatient = [0, 0, index // 2]


def without_position(header: Dataset, index: int) -> None:
    header.ImagePositionPatient = None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (uneven, "mm apart; expected equal steps"),
        (turned, "slices in several directions"),
        (scaled, "frames of one file with values on several scales"),
        (at_one_place, "5 slices at the place of another one (echoes, time points or parts)"),
        (without_position, "slices without position, direction or voxel size"),
    ],
)
def test_frames_that_are_no_volume_are_refused(change: Callable, message, tmp_path):
    join_frames(write_series(tmp_path / "scan", VOXELS, AFFINE, change=change), tmp_path / "scan" / "a.dcm")
    with pytest.raises(InputError) as caught:
        found(tmp_path / "scan")
    assert message in str(caught.value)
    assert NAME not in str(caught.value)
    assert IDENTITY not in str(caught.value)


@pytest.mark.parametrize("keep", [0.95, 0.3, 0.01])
def test_a_truncated_enhanced_file_is_refused(keep, tmp_path):
    path = tmp_path / "scan" / "a.dcm"
    join_frames(write_series(tmp_path / "scan", VOXELS, AFFINE), path)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(InputError, match="none of them is an MR image that can be read"):
        found(tmp_path / "scan")


def test_a_file_with_fewer_places_than_frames_is_refused(tmp_path):
    path = tmp_path / "scan" / "a.dcm"
    join_frames(write_series(tmp_path / "scan", VOXELS, AFFINE), path)
    header = pydicom.dcmread(path)
    del header.PerFrameFunctionalGroupsSequence[-1]
    header.save_as(path)
    with pytest.raises(InputError, match="none of them is an MR image that can be read"):
        found(tmp_path / "scan")


def contrast(header: Dataset, index: int) -> None:
    header.ContrastBolusAgentSequence = [Dataset()]


def phase(header: Dataset, index: int) -> None:
    header.ComplexImageComponent = "PHASE"


@pytest.mark.parametrize(("change", "wanted"), [(contrast, "series-2"), (phase, "series-2"), (scale, "series-1")])
def test_frames_with_contrast_agent_or_of_phases_are_not_t1_weighted(change, wanted, tmp_path):
    for number, one in ((1, change), (2, lambda header, index: None)):
        step = np.diag([1, 1, 2 * number, 1])  # the second is thick
        files = write_series(tmp_path / "scan", VOXELS, AFFINE @ step / 4, number, change=one)
        join_frames(files, tmp_path / "scan" / f"{number}.dcm")
    (item,) = found(tmp_path / "scan")
    assert Path(item["image"]).name == wanted
