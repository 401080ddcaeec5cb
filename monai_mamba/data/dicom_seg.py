"""Label maps as DICOM Segmentations, on the slices of the series that they were made from.

Other results name nobody; such a file says who the patient is, as its series does.

Source: DICOM PS3.3 2024, A.51 and C.8.20.2 (segmentation); PS3.16, CID 7140 and 7153 (structures), 244 (sides).
"""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.uid import generate_uid

from monai_mamba.data.dicom import find_series, is_series
from monai_mamba.data.dicom_files import MR_ENHANCED
from monai_mamba.errors import InputError
from monai_mamba.files import read_tsv
from monai_mamba.labels import LABEL_FOLDER, LabelEntry, LabelTable, without_side
from monai_mamba.version import __version__

UIDS = ("FrameOfReferenceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
STUDY = ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName")
SERIES_NUMBERS = 1000  # added to the number of the series
NAME = "monai-mamba"
OTHER = "other"  # row of the codes for structures that have none


def check_dicom_seg(path: str | Path) -> None:
    """Refuse what no DICOM Segmentation can be made of, before anything is computed.

    Raises:
        InputError: highdicom is missing; or the scan is no DICOM series, lacks an identifier, or is in several enhanced
            files.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"--dicom_seg True needs highdicom ({error}). Install it with 'pip install highdicom', or this package "
            "with its extra dicom-seg."
        ) from error
    if not is_series(path):
        raise InputError(
            f"{path}: no DICOM series, and --dicom_seg True refers to the slices of one. Give a DICOM folder, or leave "
            "the option out."
        )
    slices = find_series(path).grid()[0]
    with disable_value_validation():
        header = dcmread(slices[0].path, stop_before_pixels=True, force=True)
    if missing := [name for name in UIDS if not header.get(name)]:
        raise InputError(
            f"{path}: its slices have no {', '.join(missing)}, which a DICOM Segmentation must repeat. Leave out "
            "--dicom_seg, or export the series again with its identifiers."
        )
    if header.SOPClassUID in MR_ENHANCED and len({one.path for one in slices}) > 1:
        raise InputError(
            f"{path}: its slices are in several enhanced files, and a DICOM Segmentation is written for one. Leave out "
            "--dicom_seg, or export the series as one file."
        )


def make_dicom_seg(
    labels: np.ndarray, path: str | Path, table: LabelTable, weights: Sequence[str], description: str
) -> bytes:
    """Make a DICOM Segmentation, one segment a structure in the order of the table; slices without labels are left out.

    A segment has the code of its structure in `dicom_codes.tsv`, and its side; a structure that is not there has that
    of the brain.

    Args:
        labels: label ids `(W, H, N)` on the grid of the series, see `Series.grid`.
        path: name of the series, for which `check_dicom_seg` has passed.
        table: the structures.
        weights: SHA-256 of each file of weights.
        description: of the new series.

    Returns:
        The content of the file.
    """
    content = io.BytesIO()
    with disable_value_validation():  # of pydicom, whose warnings would quote the patient
        _segmentation(labels, path, table, weights, description).save_as(content)
    return content.getvalue()


def _segmentation(
    labels: np.ndarray, path: str | Path, table: LabelTable, weights: Sequence[str], description: str
) -> Dataset:
    import highdicom
    from pydicom.sr.codedict import codes

    logging.getLogger("highdicom").setLevel(logging.WARNING)  # below, it logs identifiers
    slices, affine = find_series(path).grid()
    headers = [dcmread(name, stop_before_pixels=True, force=True) for name in dict.fromkeys(s.path for s in slices)]
    _complete(headers, round(float(np.linalg.norm(affine[:3, 2])), 4))
    first = headers[0]
    # They are copied as they are; highdicom refuses values that the standard does not know, and headers without them.
    identity = [first[name] for name in ("SpecificCharacterSet", *PATIENT, *STUDY) if name in first]
    for name in (*PATIENT, *STUDY):
        first.pop(name, None)
        setattr(first, name, None)
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=NAME,
        family=codes.DCM.ArtificialIntelligence,
        version=__version__,
        parameters={f"SHA-256 of weights {number}": sha256 for number, sha256 in enumerate(weights, 1)},
    )
    rows = {row["structure"]: row for row in read_tsv(LABEL_FOLDER / "dicom_codes.tsv", "structure")}
    segments, numbers = [], np.zeros(max(table.ids) + 1, np.uint16)
    for number, entry in enumerate(table.structures, 1):
        numbers[entry.id] = number
        segments.append(_describe(number, entry, rows.get(without_side(entry.name), rows[OTHER]), algorithm))
    # Slices are in the order of their places, frames in that of their file.
    frames = numbers[labels.transpose(2, 1, 0)][np.argsort([one.frame for one in slices], kind="stable")]
    seg = highdicom.seg.Segmentation(
        headers,
        frames,
        highdicom.seg.SegmentationTypeValues.BINARY,  # the kind that viewers know
        segments,
        series_instance_uid=generate_uid(prefix=None),
        series_number=SERIES_NUMBERS + slices[0].number,
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer=f"{NAME} contributors",
        manufacturer_model_name=NAME,
        software_versions=__version__,
        device_serial_number=weights[-1],
        content_label="SEGMENTATION",
        content_qualification="RESEARCH",
        series_description=f"{NAME} {description}",
    )
    for element in identity:
        seg[element.tag] = element
    return seg


def _complete(headers: Sequence[Dataset], step: float) -> None:
    """Add to the headers of a series, whose slices are `step` mm apart, what highdicom expects of their geometry."""
    first = headers[0]
    if first.SOPClassUID in MR_ENHANCED:
        shared, frame = first.SharedFunctionalGroupsSequence[0], first.PerFrameFunctionalGroupsSequence[0]
        for name in ("PlaneOrientationSequence", "PixelMeasuresSequence"):  # alike in all frames, see `Series.grid`
            if name not in shared:
                setattr(shared, name, frame[name].value)
        measures = shared.PixelMeasuresSequence[0]
    else:
        measures = first
        for header in headers:
            header.ImageOrientationPatient = first.ImageOrientationPatient  # they may differ by rounding
    measures.SliceThickness = measures.get("SliceThickness") or step
    measures.pop("SpacingBetweenSlices", None)  # highdicom takes it from the positions


def _describe(number: int, entry: LabelEntry, row: Mapping[str, str], algorithm: Sequence) -> Dataset:
    """A segment: its number, a structure, the row of its code, and what made it."""
    import highdicom
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    segment = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=entry.name,
        segmented_property_category=getattr(codes.SCT, row["category"]),
        segmented_property_type=Code(row["code"], row["scheme"], row["meaning"]),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        display_color=_cielab(entry.color[:3]),
    )
    if entry.name != without_side(entry.name):
        side = highdicom.sr.CodedConcept.from_code(getattr(codes.SCT, entry.name.partition("-")[0]))
        segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    return segment


def _cielab(color: Sequence[int]) -> Any:
    """Red, green and blue (sRGB, 0..255) as DICOM says colors; 8 bits a part."""
    from highdicom.color import CIELabColor

    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    pixel = ImageCms.profileToProfile(Image.new("RGB", (1, 1), tuple(color)), *profiles, outputMode="LAB")
    lightness, a, b = struct.unpack("Bbb", pixel.tobytes())
    return CIELabColor(lightness / 255 * 100, a, b)
