"""DICOM series as images: which series lie in folders, which one is T1-weighted, and where its slices are in space.

A series is named by `FOLDER/series-NUMBER`, the folder that holds its files and its series number, as if it were a
file. Of its header only what follows here is read: nothing about the patient gets into a result, a message or a log.

Source: DICOM PS3.3 2024, C.7.3.1 (series), C.7.6.2 (image plane), C.8.3 (MR).
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np

from monai_mamba.data.geometry import LARGEST_SIZE
from monai_mamba.data.itk_image import LazyVoxels, nifti_image
from monai_mamba.errors import InputError
from monai_mamba.files import files_below

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"  # SOP class: one slice
MR_MULTIFRAME = tuple(f"{MR_IMAGE}.{number}" for number in (1, 3, 4))
PREAMBLE = 128
SOP_CLASS = re.compile(rb"\x02\x00\x02\x00UI..([\d.]+)", re.DOTALL)  # in the file's own header
DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")
NO_HEAD = {"LOCALIZER", "SECONDARY", "P", "MOSAIC", "MPR", "PROJECTION IMAGE"}  # words of the image type
T1_WEIGHTED = re.compile(r"t1|mp.?rage|spgr|bravo", re.IGNORECASE)
OTHERWISE = re.compile(r"t2|flair|map|post|gad|contrast|\+c|scout|loc", re.IGNORECASE)
THIN_MM = 2.0
MIN_SLICES = 8
SAME_DIRECTION, SAME_PLACE_MM = 1e-3, 0.01  # rounding of cosines and of positions
STRAIGHT_MM = 0.5
CONVERT = "Convert it to NIfTI, for example with dcm2niix"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slice:
    """What is read of the header of a file with one slice. Texts are as in the file."""

    path: str
    study: str
    uid: str
    number: int
    description: str
    image_type: tuple[str, ...]
    position: tuple[float, ...]
    directions: tuple[float, ...]
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    is_multiframe: bool
    has_contrast: bool


@dataclass(frozen=True)
class Series:
    """A series of one folder.

    Attributes:
        path: `FOLDER/series-NUMBER`; where the folder has several of a number, the second ends in `-2`.
        slices: its files, in any order.
        damaged: files of the folder that cannot be read, so that nobody knows whose they are.
    """

    path: Path
    slices: tuple[Slice, ...]
    damaged: int

    @property
    def is_t1_weighted(self) -> bool:
        """Whether description or protocol say so, and neither they nor the header speak of something else."""
        first, text = self.slices[0], self.slices[0].description
        others = OTHERWISE.search(text) or first.has_contrast or NO_HEAD & set(first.image_type)
        return bool(T1_WEIGHTED.search(text)) and not others

    @property
    def problem(self) -> str | None:
        """Why it cannot be processed."""
        try:
            self.grid()
        except InputError as error:
            return str(error)
        return None

    def __str__(self) -> str:
        """Path, description, matrix and spacing, or why it cannot be processed."""
        if self.problem:
            return self.problem
        slices, affine = self.grid()
        shape = (*slices[0].shape, len(slices))
        sizes = " x ".join(f"{size:.3g}" for size in nib.affines.voxel_sizes(affine))
        return f"{self.path}: '{slices[0].description}', {' x '.join(map(str, shape))} voxels of {sizes} mm"

    def grid(self) -> tuple[list[Slice], np.ndarray]:
        """Put the slices in order of their places.

        Returns:
            The slices, and the affine `(4, 4)`, voxel index (column, row, slice) to millimeters (LPS). A gantry tilt
            is part of it.

        Raises:
            InputError: the slices are not those of one volume.
        """
        first = self.slices[0]
        if self.damaged:
            raise self._error(
                f"{self.damaged} damaged or truncated DICOM file(s) in its folder, so slices may be missing",
                "Copy the folder again from its source",
            )
        if any(one.is_multiframe or "MOSAIC" in one.image_type for one in self.slices):
            raise self._error("several slices in one file (multi-frame or mosaic), which is not read here", CONVERT)
        if any(len(one.position) != 3 or len(one.directions) != 6 or len(one.spacing) != 2 for one in self.slices):
            raise self._error("slices without position, direction or voxel size", CONVERT)
        directions = np.array([one.directions for one in self.slices])
        if np.abs(directions - directions[0]).max() > SAME_DIRECTION:
            raise self._error("slices in several directions, as in a localizer", "Choose another series")
        if len({(one.shape, one.spacing) for one in self.slices}) > 1:
            raise self._error("slices of several sizes", CONVERT)
        if len(self.slices) < MIN_SLICES:
            raise self._error(f"{len(self.slices)} slices; expected at least {MIN_SLICES}", "Choose another series")
        row, column = directions[0, :3], directions[0, 3:]
        normal = np.cross(row, column)
        slices = sorted(self.slices, key=lambda one: float(np.dot(one.position, normal)))
        places = np.array([one.position for one in slices])
        self._check_places(places, normal)
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = row * first.spacing[1], column * first.spacing[0]
        affine[:3, 2], affine[:3, 3] = (places[-1] - places[0]) / (len(places) - 1), places[0]
        return slices, affine

    def _check_places(self, places: np.ndarray, normal: np.ndarray) -> None:
        steps = np.diff(places @ normal)
        usual = float(np.median(steps))
        if steps.min() < SAME_PLACE_MM:
            count = int((steps < SAME_PLACE_MM).sum())
            raise self._error(f"{count} slices at the place of another one (echoes, time points or parts)", CONVERT)
        if np.abs(steps / usual - 1).max() > LARGEST_SIZE:
            missing = np.rint(steps / usual) - 1
            if np.abs(steps / usual - 1 - missing).max() <= LARGEST_SIZE:
                found = f"{missing.sum():.0f} slices are missing between the others"
                raise self._error(found, "Copy the series again from its source")
            raise self._error(f"slices {steps.min():.3g} to {steps.max():.3g} mm apart; expected equal steps", CONVERT)
        line = places[0] + np.outer(np.linspace(0, 1, len(places)), places[-1] - places[0])
        if np.linalg.norm(places - line, axis=1).max() > STRAIGHT_MM:
            raise self._error("slices that do not lie on a straight line", CONVERT)

    def _error(self, found: str, advice: str) -> InputError:
        return InputError(f"{self.path}: '{self.slices[0].description}', {found}. {advice}.")


def is_series(path: str | Path) -> bool:
    """Whether a path names a series, see the module; a file or folder of that name comes first."""
    path = Path(path)
    return bool(re.fullmatch(r"series-\d+(-\d+)?", path.name)) and path.parent.is_dir() and not path.exists()


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


def open_series(path: str | Path) -> nib.Nifti1Image:
    """Read the headers of a series; its voxels, float32, when they are asked for.

    Raises:
        InputError: there is no such series, its slices are not those of one volume (see `Series.grid`), or, with the
            voxels, a file changes meanwhile or has a compression that ITK cannot read.
    """
    path = Path(path)
    found = {series.path: series for series in series_in(path.parent)}
    if path not in found:
        text = "\n".join(f"  {series}" for series in found.values()) or "  none"
        raise InputError(f"{path}: there is no such DICOM series. Expected one of those of its folder:\n{text}")
    slices, affine = found[path].grid()
    shape = (*slices[0].shape, len(slices))
    return nifti_image(LazyVoxels(shape, np.dtype(np.float32), lambda: _read(path, slices, shape)), affine)


def series_of(path: Path) -> Path:
    """The name of the series that a DICOM file belongs to.

    Raises:
        InputError: the file is damaged, or no MR image.
    """
    for series in series_in(path.parent):
        if any(Path(one.path) == path for one in series.slices):
            return series.path
    raise InputError(
        f"{path}: not a readable MR image. Expected a DICOM file of a T1-weighted series, or a NIfTI file (dcm2niix "
        "makes one)."
    )


def series_in(folder: Path, files: Iterable[Path] | None = None) -> list[Series]:
    """The MR series of a folder, without its subfolders, by number; `files` are its DICOM files, if they are known."""
    by_uid, damaged = defaultdict(list), 0
    for path in filter(is_dicom, sorted(folder.iterdir())) if files is None else files:
        state = os.stat(path)
        header = _read_header(str(path), state.st_mtime_ns, state.st_size)
        if isinstance(header, Slice):
            by_uid[header.uid].append(header)
        else:
            damaged += header
    series, copies = [], Counter()
    for slices in sorted(by_uid.values(), key=lambda slices: (slices[0].number, slices[0].uid)):
        name = f"series-{slices[0].number}"
        copies[name] += 1
        name += f"-{copies[name]}" if copies[name] > 1 else ""
        series.append(Series(folder / name, tuple(slices), damaged))
    return series


def choose_series(root: Path, files: Iterable[Path]) -> tuple[list[Path], dict[Path, str]]:
    """Choose the T1-weighted series of each study.

    A study of one series gives that one, and so does one of whose series only one is a volume. Of several volumes,
    those are taken whose description says so (`Series.is_t1_weighted`), the thin ones first (voxels up to 2 mm).

    Args:
        root: where the search began, for messages.
        files: the DICOM files below it.

    Returns:
        The series; of a study in which none or several remain, the folder that they lie in. And all other series, with
        what they are.
    """
    studies: dict[str, list[Series]] = defaultdict(list)
    for series in _all_series(files):
        studies[series.slices[0].study].append(series)
    chosen, others = [], {}
    for study in studies.values():
        one = _choose(study)
        if one and not one.is_t1_weighted:
            logger.warning("%s. It does not say that it is T1-weighted; taken because there is no other volume.", one)
        chosen.append(one.path if one else Path(os.path.commonpath([series.path.parent for series in study])))
        others |= {series.path: "other DICOM series" for series in study if one and series is not one}
    if not chosen:
        raise InputError(f"{root}: DICOM files, but none of them is an MR image that can be read.")
    return list(dict.fromkeys(chosen)), others


def describe_choice(folder: Path) -> str:
    """What a user can choose from where `choose_series` did not choose."""
    lines = [f"  {series}" for series in _all_series(filter(is_dicom, files_below(folder)))]
    return (
        f"{folder}: none or several of these DICOM series are T1-weighted by their description. Choose with --input, "
        "such as --input FOLDER/series-NUMBER:\n" + "\n".join(lines)
    )


def _all_series(files: Iterable[Path]) -> Iterator[Series]:
    """The series of DICOM files in any folders."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        folders[path.parent].append(path)
    for folder, paths in folders.items():
        yield from series_in(folder, paths)


def _choose(study: Sequence[Series]) -> Series | None:
    volumes = study if len(study) == 1 else [series for series in study if series.problem is None]
    if len(volumes) > 1:
        volumes = [series for series in volumes if series.is_t1_weighted]
        thin = [s for s in volumes if nib.affines.voxel_sizes(s.grid()[1]).max() <= THIN_MM]
        volumes = thin or volumes
    uids = [series.slices[0].uid for series in study]
    if len(volumes) == 1 and uids.count(volumes[0].slices[0].uid) == 1:  # not spread over folders
        return volumes[0]
    return None


@lru_cache(maxsize=2**17)
def _read_header(path: str, _changed: int, _size: int) -> Slice | bool:
    """The header of a DICOM file; where there is none, whether the file is damaged rather than no MR image."""
    # Here, because the import takes a second or more that only readers of such files should pay.
    import itk

    with open(path, "rb") as file:
        known = SOP_CLASS.search(file.read(4096))
    kind = known[1].decode() if known else MR_IMAGE
    if kind not in (MR_IMAGE, *MR_MULTIFRAME):
        return False
    io = itk.GDCMImageIO.New()
    try:
        if not io.CanReadFile(path):
            return True
        io.SetFileName(path)
        io.ReadImageInformation()
    except RuntimeError:
        return True
    fields = io.GetMetaDataDictionary()
    keys = set(fields.GetKeys())

    def text(tag: str) -> str:
        return str(fields[tag]).strip(" \0") if tag in keys else ""

    def numbers(tag: str) -> tuple[float, ...]:
        try:
            return tuple(float(part) for part in text(tag).split("\\") if part.strip())
        except ValueError:
            return ()

    return Slice(
        path=path,
        study=text("0020|000d"),
        uid=text("0020|000e"),
        number=abs(int(next(iter(numbers("0020|0011")), 0))),
        description=" ".join(dict.fromkeys(filter(None, (text("0008|103e"), text("0018|1030"))))),
        image_type=tuple(part.strip().upper() for part in text("0008|0008").split("\\")),
        position=numbers("0020|0032"),
        directions=numbers("0020|0037"),
        shape=(int(io.GetDimensions(0)), int(io.GetDimensions(1))),
        spacing=numbers("0028|0030"),
        is_multiframe=kind != MR_IMAGE or next(iter(numbers("0028|0008")), 1) > 1 or io.GetNumberOfComponents() > 1,
        has_contrast=bool(text("0018|0010")),
    )


def _read(path: Path, slices: Sequence[Slice], shape: tuple[int, ...]) -> np.ndarray:
    import itk

    names = [one.path for one in slices]
    before = [os.stat(name).st_mtime_ns for name in names]
    reader = itk.ImageSeriesReader[itk.Image[itk.F, 3]].New(FileNames=names, ImageIO=itk.GDCMImageIO.New())
    try:
        reader.Update()
    except RuntimeError as error:
        raise InputError(
            f"{path}: its slices cannot be read, because they are damaged, or compressed in a way that ITK does not "
            f"know. {CONVERT}."
        ) from error
    if before != [os.stat(name).st_mtime_ns for name in names]:
        raise InputError(
            f"{path}: the files changed while they were read. Wait until nothing writes to them any more, and run "
            "again."
        )
    return itk.array_from_image(reader.GetOutput()).transpose(2, 1, 0).reshape(shape)
