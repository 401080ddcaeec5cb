"""DICOM series made from the scan that ships: read voxel by voxel, chosen by a rule, or refused by name."""

from __future__ import annotations

import itertools
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_phantom import IDENTITY, NAME, sample, write_series
from monai.transforms import LoadImage
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from monai_mamba.data import VerifyingNibabelReader, find_scans
from monai_mamba.data.image_file import read_image
from monai_mamba.errors import InputError

VOXELS, AFFINE = sample()
PART = (slice(14, 26), slice(14, 24), slice(10, 20))
SMALL = VOXELS[PART]
SMALL_AFFINE = AFFINE @ nib.affines.from_matvec(np.eye(3), [part.start for part in PART])
TURNS = [
    np.stack([order, signs], axis=1)
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
]


def found(source: object, folder: Path) -> list[dict]:
    return find_scans(str(source), str(folder / "out"), "subcortical")


def assert_same(image: nib.Nifti1Image, voxels: np.ndarray, affine: np.ndarray) -> None:
    """The same values at the same places, in whatever order the file has them."""
    one, other = (nib.as_closest_canonical(item) for item in (image, nib.Nifti1Image(voxels, affine)))
    np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-4)


def test_a_series_is_read_as_the_same_volume_in_nifti_is(tmp_path):
    write_series(tmp_path / "scan", VOXELS, AFFINE)
    (item,) = found(tmp_path / "scan", tmp_path)
    assert item == {
        "image": str(tmp_path / "scan" / "series-3"),
        "output": str(tmp_path / "out" / "scan_series-3_desc-subcortical"),
    }
    assert_same(read_image(item["image"]), VOXELS, AFFINE)
    nib.save(nib.Nifti1Image(VOXELS, AFFINE), tmp_path / "scan.nii.gz")
    dicom, nifti = (
        LoadImage(reader=VerifyingNibabelReader)(tmp_path / name) for name in ("scan/series-3", "scan.nii.gz")
    )
    assert_same(nib.Nifti1Image(dicom.numpy(), dicom.affine.numpy()), nifti.numpy(), nifti.affine.numpy())
    assert not dicom.meta["geometry_warning"]


def test_right_and_left_stay_in_all_48_orientations(tmp_path):
    for number, turn in enumerate(TURNS):
        voxels = nib.apply_orientation(SMALL, turn)
        affine = SMALL_AFFINE @ nib.orientations.inv_ornt_aff(turn, SMALL.shape)
        write_series(tmp_path / str(number), voxels, affine)
        assert_same(read_image(tmp_path / str(number) / "series-3"), SMALL, SMALL_AFFINE)


def tilted(degrees: float) -> np.ndarray:
    """Slices that are each shifted along their rows, as of a tilted gantry."""
    affine = SMALL_AFFINE.copy()
    affine[:3, 2] += np.tan(np.radians(degrees)) * affine[:3, 1]
    return affine


def oblique() -> np.ndarray:
    cosine, sine = np.cos(0.3), np.sin(0.3)
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    return nib.affines.from_matvec(turn @ np.diag([0.9, 1.1, 3.3]), [5, -6, 7])


@pytest.mark.parametrize("affine", [tilted(15), oblique()], ids=["gantry tilt", "oblique"])
def test_places_come_from_the_positions_of_the_slices(affine, tmp_path):
    write_series(tmp_path / "a", SMALL, affine)
    image = read_image(tmp_path / "a" / "series-3")
    assert_same(image, SMALL, affine)
    assert nib.affines.voxel_sizes(image.affine)[2] != 1  # not the slice thickness of the header


def test_values_are_scaled_as_each_slice_says(tmp_path):
    def scale(header: Dataset, index: int) -> None:
        header.RescaleSlope, header.RescaleIntercept = index + 1, -5

    write_series(tmp_path / "a", SMALL, SMALL_AFFINE, change=scale)
    assert_same(read_image(tmp_path / "a" / "series-3"), SMALL * np.arange(1, 11, dtype=np.int16) - 5, SMALL_AFFINE)


def series(folder: Path, number: int, description: str, step: int = 1, **options: object) -> None:
    write_series(
        folder, SMALL, SMALL_AFFINE @ np.diag([1, 1, step, 1]) / [[4], [4], [4], [1]], number, description, **options
    )


def localizer(header: Dataset, index: int) -> None:
    if index > 5:
        header.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def test_of_a_study_the_t1_weighted_series_is_taken(tmp_path, caplog):
    study = tmp_path / "in" / "person 1" / "all"
    series(study, 1, "localizer", change=localizer)
    series(study, 2, "t1_mprage_sag_p2")
    series(study, 3, "t1_se_tra", step=5)
    series(study, 4, "t2_tse_tra")
    series(study, 5, "t1_mprage_post")
    for number, name in enumerate(("t1_mprage_Gd", "SPGR CE", "mprage km"), start=6):
        series(study, number, name)
    series(tmp_path / "in" / "person 2" / "DICOM" / "7", 9, "3D BRAVO", study="4.5.6")
    with caplog.at_level(logging.INFO, "monai_mamba"):
        items = found(tmp_path / "in", tmp_path)
    assert [item["output"].removeprefix(f"{tmp_path}/out/") for item in items] == [
        "person 1/all_series-2_desc-subcortical",
        "person 2/DICOM/7_series-9_desc-subcortical",
    ]
    assert f"other DICOM series (7: {study / 'series-1'}, " in caplog.text
    assert [item["image"] for item in found(study / "series-4", tmp_path)] == [str(study / "series-4")]


def test_of_several_t1_weighted_series_the_user_chooses(tmp_path):
    for number, name in ((1, "localizer"), (2, "t1_mprage"), (7, "t1_mprage_repeated")):
        series(tmp_path / "scan", number, name, change=localizer if number == 1 else lambda header, index: None)
    with pytest.raises(InputError) as caught:
        found(tmp_path / "scan", tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{tmp_path / 'scan'}: none or several of these DICOM series are T1-weighted")
    assert "--input FOLDER/series-NUMBER" in lines[0]
    assert "series-1: 'localizer', slices in several directions" in lines[1]
    assert lines[2] == f"  {tmp_path / 'scan' / 'series-2'}: 't1_mprage', 12 x 10 x 10 voxels of 1 x 1 x 1 mm"
    # Of several studies, the others go on.
    series(tmp_path / "other", 1, "MPRAGE", study="7.8.9")
    items = found(tmp_path, tmp_path)
    assert [Path(item["image"]).parts[-2:] for item in items if "problem" not in item] == [("other", "series-1")]
    assert sum("problem" in item for item in items) == 1
    with pytest.raises(
        InputError, match=r"series-4: there is no such DICOM series(.|\n)*series-7: 't1_mprage_repeated'"
    ):
        found(tmp_path / "scan" / "series-4", tmp_path)


def test_the_only_volume_is_taken_whatever_it_is_called(tmp_path, caplog):
    series(tmp_path / "scan", 1, "localizer", change=localizer)
    series(tmp_path / "scan", 2, "head")
    with caplog.at_level(logging.WARNING, "monai_mamba"):
        assert [Path(item["image"]).name for item in found(tmp_path / "scan", tmp_path)] == ["series-2"]
    assert "It does not say that it is T1-weighted" in caplog.text


def test_a_file_stands_for_its_series(tmp_path):
    files = write_series(tmp_path / "scan", SMALL, SMALL_AFFINE, number=4)
    series(tmp_path / "scan", 5, "t2")
    (item,) = found(files[3], tmp_path)
    assert item["image"] == str(tmp_path / "scan" / "series-4")
    (item,) = found(tmp_path / "scan" / "*.IMA", tmp_path)
    assert item["image"] == str(tmp_path / "scan" / "series-4")


def test_two_series_of_one_number_have_two_names(tmp_path):
    for name in ("t1_mprage", "t2"):
        series(tmp_path / "scan", 0, name)
    (item,) = found(tmp_path / "scan", tmp_path)
    assert Path(item["image"]).name in ("series-0", "series-0-2")
    other = {"series-0": "series-0-2", "series-0-2": "series-0"}[Path(item["image"]).name]
    assert found(tmp_path / "scan" / other, tmp_path)


def test_beside_other_images_dicom_is_left_out_and_listed(tmp_path, caplog):
    series(tmp_path / "in" / "dicom", 1, "t1")
    nib.save(nib.Nifti1Image(SMALL.astype(np.float32), np.eye(4)), tmp_path / "in" / "a.nii.gz")
    with caplog.at_level(logging.INFO, "monai_mamba"):
        assert [Path(item["image"]).name for item in found(tmp_path / "in", tmp_path)] == ["a.nii.gz"]
    assert f"folder with DICOM files, beside other images (1: {tmp_path / 'in' / 'dicom'})" in caplog.text


def remove(*numbers: int) -> Callable[[list[Path]], object]:
    return lambda files: [files[number].unlink() for number in numbers]


def cut(keep: float) -> Callable[[list[Path]], object]:
    return lambda files: files[-1].write_bytes(files[-1].read_bytes()[: int(keep * files[-1].stat().st_size)])


def edited(change: Callable[[Dataset, int], object]) -> Callable[[list[Path]], object]:
    def edit(files: list[Path]) -> None:
        for index, path in enumerate(files):
            header = pydicom.dcmread(path)
            change(header, index)
            header.save_as(path)

    return edit


def uneven(header: Dataset, index: int) -> None:
    header.ImagePositionPatient[2] += 1.3 if index > 4 else 0


def bent(header: Dataset, index: int) -> None:
    header.ImagePositionPatient[0] += (index - 4) ** 2


def doubled(files: list[Path]) -> None:
    for path in files:
        shutil.copyfile(path, path.with_name("echo-2." + path.name))


def another_size(header: Dataset, index: int) -> None:
    if index == 4:
        header.PixelSpacing = [5, 5]


def multiframe(header: Dataset, index: int) -> None:
    header.NumberOfFrames = 2
    header.PixelData = header.PixelData * 2


def mosaic(header: Dataset, index: int) -> None:
    header.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]


def without_position(header: Dataset, index: int) -> None:
    del header.ImagePositionPatient


def tomography(header: Dataset, index: int) -> None:
    header.Modality, header.SOPClassUID = "CT", CTImageStorage
    header.file_meta.MediaStorageSOPClassUID = CTImageStorage


def stopped(files: list[Path]) -> None:
    for path in files[3:]:
        path.unlink()


def two_studies(header: Dataset, index: int) -> None:
    header.StudyInstanceUID = f"1.2.{index % 2}"


def mirrored(header: Dataset, index: int) -> None:
    header.PixelSpacing = [-1, 1]


def no_width(header: Dataset, index: int) -> None:
    header.PixelSpacing = [0, 1]


def longer_directions(header: Dataset, index: int) -> None:
    header.ImageOrientationPatient = [2 * value for value in header.ImageOrientationPatient]


REFUSED: dict[str, tuple[Callable[[list[Path]], object], str]] = {
    "two slices missing in the middle": (remove(3, 4), "2 slices are missing between the others"),
    "slices at unequal distances": (edited(uneven), "mm apart; expected equal steps"),
    "slices along a curve": (edited(bent), "do not lie on a straight line"),
    "two echoes in one series": (doubled, "10 slices at the place of another one"),
    "a localizer": (edited(localizer), "slices in several directions, as in a localizer"),
    "three slices": (stopped, "3 slices; expected at least 8"),
    "directions of length 2": (edited(longer_directions), "not unit vectors at a right angle"),
    "slices of several voxel sizes": (edited(another_size), "slices of several sizes"),
    "slices of two studies in one series": (edited(two_studies), "slices of several studies"),
    "voxels of -1 mm": (edited(mirrored), "voxels of -1 x 1 mm"),
    "voxels of 0 mm": (edited(no_width), "singular or not finite"),
    "multi-frame without places": (edited(multiframe), "several slices in one image"),
    "mosaic of slices": (edited(mosaic), "several slices in one image"),
    "slices without position": (edited(without_position), "slices without position, direction or voxel size"),
    "the last slice truncated": (cut(0.9), "1 damaged or truncated DICOM file(s) in its folder"),
    "the last slice truncated in its first bytes": (cut(0.01), "1 damaged or truncated DICOM file(s) in its folder"),
    "the last slice empty": (cut(0), "1 damaged or truncated DICOM file(s) in its folder"),
    "CT": (edited(tomography), "none of them is an MR image that can be read"),
    "every slice truncated": (
        lambda files: [cut(0.5)([path]) for path in files],
        "none of them is an MR image that can be read",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case, tmp_path):
    change, message = REFUSED[case]
    change(write_series(tmp_path / "scan", SMALL, SMALL_AFFINE))
    with pytest.raises(InputError) as caught:
        found(tmp_path / "scan", tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "scan"))
    assert message in str(caught.value)
    assert NAME not in str(caught.value)
    assert IDENTITY not in str(caught.value)


def test_a_series_that_changes_after_its_voxels_were_read_is_refused(tmp_path):
    files = write_series(tmp_path / "scan", SMALL, SMALL_AFFINE)
    checksum = LoadImage(reader=VerifyingNibabelReader)(tmp_path / "scan" / "series-3").meta["checksum"]
    assert read_image(tmp_path / "scan" / "series-3", checksum)
    content = bytearray(files[2].read_bytes())
    content[-20] ^= 0xFF
    files[2].write_bytes(content)
    with pytest.raises(InputError, match="the file has changed since its voxels were read"):
        read_image(tmp_path / "scan" / "series-3", checksum)
