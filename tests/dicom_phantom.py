"""DICOM series and files of other formats made from a volume, as scanners and viewers write them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

SAMPLE = Path(__file__).resolve().parents[1] / "bundles" / "subcortical" / "sample_data" / "sub-0001_T1w.nii.gz"
NAME, IDENTITY = "Mustermann^Erika", "MRN-4711"
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def sample(step: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Every few voxels of the scan that ships, int16, and its affine (RAS)."""
    image = nib.load(SAMPLE)
    voxels = np.asarray(image.dataobj)[::step, ::step, ::step].astype(np.int16)
    return voxels, image.affine @ np.diag([step, step, step, 1])


def write_series(
    folder: Path,
    voxels: np.ndarray,
    affine: np.ndarray,
    number: int = 3,
    description: str = "t1_mprage_sag",
    study: str = "1.2.3",
    change: Callable[[Dataset, int], object] = lambda header, index: None,
) -> list[Path]:
    """Write a slice of the third axis a file, under names that follow no order; returns them in that of the slices.

    Args:
        folder: is made where it is missing.
        voxels: `(columns, rows, slices)`, whole numbers.
        affine: `(4, 4)`, RAS; the first two axes must be at right angles.
        number: of the series.
        description: of the series.
        study: unique id of the study.
        change: changes the header of a slice, given its index, before it is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lps = RAS_TO_LPS @ affine
    sizes = np.linalg.norm(lps[:3, :3], axis=0)
    uid, files = generate_uid(), []
    for index in range(voxels.shape[2]):
        header = FileDataset(None, {}, preamble=b"\0" * 128, file_meta=FileMetaDataset())
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = MRImageStorage
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = generate_uid()
        header.PatientName, header.PatientID, header.Modality = NAME, IDENTITY, "MR"
        header.StudyInstanceUID, header.SeriesInstanceUID = study, uid
        header.FrameOfReferenceUID = f"{study}.1"
        header.SeriesNumber, header.InstanceNumber, header.SeriesDescription = number, index + 1, description
        header.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        directions = [lps[:3, 0] / sizes[0], lps[:3, 1] / sizes[1]]
        header.ImageOrientationPatient = [f"{value:.10f}" for value in np.concatenate(directions)]
        header.ImagePositionPatient = [f"{value:.8f}" for value in lps[:3, 3] + index * lps[:3, 2]]
        header.PixelSpacing = [f"{sizes[1]:.10g}", f"{sizes[0]:.10g}"]
        header.SliceThickness = 1
        header.Rows, header.Columns = voxels.shape[1], voxels.shape[0]
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated = header.BitsStored = 16
        header.HighBit, header.PixelRepresentation = 15, 1
        header.PixelData = np.ascontiguousarray(voxels[:, :, index].T.astype("<i2")).tobytes()
        change(header, index)
        path = folder / f"{NAME}.{zlib.crc32(f'{uid} {index}'.encode()):010d}.IMA"
        header.save_as(path, enforce_file_format=True)
        files.append(path)
    return files


GROUPS = {
    "PlanePosition": ("ImagePositionPatient",),
    "PlaneOrientation": ("ImageOrientationPatient",),
    "PixelMeasures": ("PixelSpacing", "SliceThickness"),
    "PixelValueTransformation": ("RescaleSlope", "RescaleIntercept"),
}


def join_frames(files: list[Path], path: Path, shared: tuple[str, ...] = ()) -> None:
    """Put the slices of `write_series` into one enhanced file, in the order of the files, which are removed.

    Args:
        files: slices of one series.
        path: the file to write.
        shared: names of `GROUPS` that all frames share.
    """
    headers = [pydicom.dcmread(file) for file in files]
    whole = headers[0]
    whole.PixelData = b"".join(header.PixelData for header in headers)
    frames = [_groups(header, set(GROUPS) - set(shared)) for header in headers]
    whole.SharedFunctionalGroupsSequence = [_groups(whole, shared)]
    whole.PerFrameFunctionalGroupsSequence = frames
    for name in (name for names in GROUPS.values() for name in names if name in whole):
        del whole[name]
    whole.file_meta.MediaStorageSOPClassUID = whole.SOPClassUID = EnhancedMRImageStorage
    whole.NumberOfFrames = len(files)
    for file in files:
        file.unlink()
    whole.save_as(path, enforce_file_format=True)


def _groups(header: Dataset, names: Iterable[str]) -> Dataset:
    groups = Dataset()
    for name in names:
        group = Dataset()
        for key in GROUPS[name]:
            if key in header:
                group.add(header[key])
        if group:
            setattr(groups, f"{name}Sequence", [group])
    return groups
