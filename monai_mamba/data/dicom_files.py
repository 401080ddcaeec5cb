"""Files of DICOM: which slices they hold, where these are in space, and their voxels.

A file holds one slice or, where it is an enhanced one, any number of them (frames). Of its header only what follows
here is read: nothing about the patient gets into a message, a log, or a result other than that of `dicom_seg`.

Source: DICOM PS3.3 2024, C.7.6.2 (image plane), C.7.6.16 (frames), C.8.3 (MR).
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from monai_mamba.errors import InputError

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"  # SOP class: one slice
MR_ENHANCED = tuple(f"{MR_IMAGE}.{number}" for number in (1, 4))  # the second is converted from the first kind
PREAMBLE = 128
SOP_CLASS = re.compile(rb"\x02\x00\x02\x00UI..([\d.]+)", re.DOTALL)  # in the file's own header
DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")
CONVERT = "Convert it to NIfTI, for example with dcm2niix"


@dataclass(frozen=True)
class Slice:
    """What is read of the header of a slice. Texts are as in the file.

    Attributes:
        frame: its number in the file, from 0.
        scale: slope and intercept of a frame, of which ITK knows those of the first only.
        is_several: the file holds several slices, and not where they are; or colors.
    """

    path: str
    frame: int
    study: str
    uid: str
    number: int
    description: str
    image_type: tuple[str, ...]
    position: tuple[float, ...]
    directions: tuple[float, ...]
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    scale: tuple[float, ...]
    is_several: bool
    has_contrast: bool


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its ending (`DICOM_SUFFIXES`); by its first bytes if that is missing or a number."""
    if path.name.startswith("."):
        return False
    if path.name.lower().endswith(DICOM_SUFFIXES):
        return path.is_file()
    if not re.fullmatch(r"(\.\d*)?", path.suffix):
        return False
    try:
        with path.open("rb") as file:
            return file.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"
    except OSError:
        return False


def read_slices(path: Path) -> tuple[Slice, ...] | None:
    """The slices of a DICOM file; empty if it is no MR image, None if it is damaged."""
    state = os.stat(path)
    return _read_slices(str(path), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=2**17)
def _read_slices(path: str, _changed: int, _size: int) -> tuple[Slice, ...] | None:
    # Here, because the import takes a second or more that only readers of such files should pay.
    import itk

    with open(path, "rb") as file:
        known = SOP_CLASS.search(file.read(4096))
    kind = known[1].decode() if known else MR_IMAGE
    if kind not in (MR_IMAGE, *MR_ENHANCED):
        return ()
    io = itk.GDCMImageIO.New()
    try:
        if not io.CanReadFile(path):
            return None
        io.SetFileName(path)
        io.ReadImageInformation()
    except RuntimeError:
        return None
    fields = io.GetMetaDataDictionary()
    keys = set(fields.GetKeys())

    def text(tag: str) -> str:
        return str(fields[tag]).strip(" \0") if tag in keys else ""

    def numbers(tag: str) -> tuple[float, ...]:
        try:
            return tuple(float(part) for part in text(tag).split("\\") if part.strip())
        except ValueError:
            return ()

    one = Slice(
        path=path,
        frame=0,
        study=text("0020|000d"),
        uid=text("0020|000e"),
        number=abs(int(next(iter(numbers("0020|0011")), 0))),
        description=" ".join(dict.fromkeys(filter(None, (text("0008|103e"), text("0018|1030"))))),
        image_type=tuple(part.strip().upper() for tag in ("0008|0008", "0008|9208") for part in text(tag).split("\\")),
        position=numbers("0020|0032"),
        directions=numbers("0020|0037"),
        shape=(int(io.GetDimensions(0)), int(io.GetDimensions(1))),
        spacing=numbers("0028|0030"),
        scale=(),
        is_several=io.GetNumberOfComponents() > 1,
        has_contrast=bool(text("0018|0010")),
    )
    count = int(next(iter(numbers("0028|0008")), 1))
    return _frames(one, count) if kind in MR_ENHANCED else (replace(one, is_several=one.is_several or count > 1),)


def _frames(file: Slice, count: int) -> tuple[Slice, ...] | None:
    """The slices of an enhanced file, which ITK reads without their places; None if there are not so many."""
    import pydicom

    header = pydicom.dcmread(file.path, stop_before_pixels=True)
    shared, frames = (header.get(f"{name}FunctionalGroupsSequence", []) for name in ("Shared", "PerFrame"))

    def numbers(groups: Sequence, group: str, *names: str) -> tuple[float, ...]:
        found = next((one[f"{group}Sequence"][0] for one in groups if one.get(f"{group}Sequence")), {})
        values = [found.get(name) for name in names]
        return tuple(float(part) for value in values if value is not None for part in np.atleast_1d(value))

    slices = []
    for index, frame in enumerate(frames):
        groups = [frame, *shared]
        slices.append(
            replace(
                file,
                frame=index,
                position=numbers(groups, "PlanePosition", "ImagePositionPatient"),
                directions=numbers(groups, "PlaneOrientation", "ImageOrientationPatient"),
                spacing=numbers(groups, "PixelMeasures", "PixelSpacing"),
                scale=numbers(groups, "PixelValueTransformation", "RescaleSlope", "RescaleIntercept"),
                has_contrast=bool(header.get("ContrastBolusAgentSequence")),
            )
        )
    return tuple(slices) if len(slices) == count else None


def read_voxels(path: Path, slices: Sequence[Slice], shape: tuple[int, ...]) -> np.ndarray:
    """Read the voxels of slices.

    Args:
        path: name of the series, for messages.
        slices: in their order.
        shape: columns, rows and slices, `(W, H, N)`.

    Returns:
        `(W, H, N)`, float32, scaled as the files say.

    Raises:
        InputError: a file is damaged, has a compression that ITK does not know, or changes meanwhile.
    """
    import itk

    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for index, one in enumerate(slices):
        places[one.path].append((index, one.frame))
    before = [os.stat(name).st_mtime_ns for name in places]
    voxels = np.empty(shape[::-1], np.float32)
    try:
        for name, pairs in places.items():
            reader = itk.ImageFileReader[itk.Image[itk.F, 3]].New(FileName=name, ImageIO=itk.GDCMImageIO.New())
            reader.Update()
            content = itk.array_view_from_image(reader.GetOutput())
            for index, frame in pairs:
                voxels[index] = content[frame]
    except RuntimeError as error:
        raise InputError(
            f"{path}: its slices cannot be read, because they are damaged, or compressed in a way that ITK does not "
            f"know. {CONVERT}."
        ) from error
    if before != [os.stat(name).st_mtime_ns for name in places]:
        raise InputError(
            f"{path}: the files changed while they were read. Wait until nothing writes to them any more, and run "
            "again."
        )
    return voxels.transpose(2, 1, 0)
