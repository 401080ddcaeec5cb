"""DICOM series as images: which series lie in folders, which one is T1-weighted, and where its slices are in space.

A series is named by `FOLDER/series-NUMBER`, the folder that holds its files and its series number, as if it were a
file.

Source: DICOM PS3.3 2024, C.7.3.1 (series).
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from monai_mamba.data.dicom_files import CONVERT, Slice, is_dicom, read_slices, read_voxels
from monai_mamba.data.geometry import LARGEST_SIZE
from monai_mamba.data.itk_image import LazyVoxels, nifti_image
from monai_mamba.errors import InputError
from monai_mamba.files import files_below

NO_HEAD = {"LOCALIZER", "SECONDARY", "P", "PHASE", "MOSAIC", "MPR", "PROJECTION IMAGE"}  # words of the image type
T1_WEIGHTED = re.compile(r"t1|mp.?rage|spgr|bravo", re.IGNORECASE)
OTHERWISE = re.compile(r"t2|flair|map|post|gad|contrast|\+c|scout|loc|(?<![a-z])(gd|ce|km)(?![a-z])", re.IGNORECASE)
THIN_MM = 2.0
MIN_SLICES = 8
SAME_DIRECTION, SAME_PLACE_MM = 1e-3, 0.01  # rounding of cosines and of positions
STRAIGHT_MM = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Series:
    """A series of one folder.

    Attributes:
        path: `FOLDER/series-NUMBER`; where the folder has several of a number, the second ends in `-2`.
        slices: its slices, in any order.
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
        if any(one.is_several or "MOSAIC" in one.image_type for one in self.slices):
            raise self._error("several slices in one image (a mosaic) or colors, which are not read here", CONVERT)
        if any(len(one.position) != 3 or len(one.directions) != 6 or len(one.spacing) != 2 for one in self.slices):
            raise self._error("slices without position, direction or voxel size", CONVERT)
        directions = np.array([one.directions for one in self.slices])
        if np.abs(directions - directions[0]).max() > SAME_DIRECTION:
            raise self._error("slices in several directions, as in a localizer", "Choose another series")
        axes = directions[0].reshape(2, 3)
        if np.abs(axes @ axes.T - np.eye(2)).max() > LARGEST_SIZE:
            raise self._error("directions that are not unit vectors at a right angle", CONVERT)
        if len({one.study for one in self.slices}) > 1:
            raise self._error("slices of several studies", CONVERT)
        if min(first.spacing) < 0:
            raise self._error(f"voxels of {first.spacing[0]:g} x {first.spacing[1]:g} mm", CONVERT)
        if len({(one.shape, one.spacing) for one in self.slices}) > 1:
            raise self._error("slices of several sizes", CONVERT)
        if len({(one.path, one.scale) for one in self.slices}) > len({one.path for one in self.slices}):
            raise self._error("frames of one file with values on several scales", CONVERT)
        if len(self.slices) < MIN_SLICES:
            raise self._error(f"{len(self.slices)} slices; expected at least {MIN_SLICES}", "Choose another series")
        row, column = axes
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


def find_series(path: str | Path) -> Series:
    """The series of a name.

    Raises:
        InputError: there is none.
    """
    path = Path(path)
    found = {series.path: series for series in series_in(path.parent)}
    if path not in found:
        text = "\n".join(f"  {series}" for series in found.values()) or "  none"
        raise InputError(f"{path}: there is no such DICOM series. Expected one of those of its folder:\n{text}")
    return found[path]


def open_series(path: str | Path) -> nib.Nifti1Image:
    """Read the headers of a series; its voxels, float32, when they are asked for.

    Raises:
        InputError: there is no such series, its slices are not those of one volume (see `Series.grid`), or, with the
            voxels, a file changes meanwhile or has a compression that ITK cannot read.
    """
    path = Path(path)
    slices, affine = find_series(path).grid()
    shape = (*slices[0].shape, len(slices))
    return nifti_image(path, LazyVoxels(shape, np.dtype(np.float32), lambda: read_voxels(path, slices, shape)), affine)


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
        slices = read_slices(path)
        if slices:
            by_uid[slices[0].uid] += slices
        else:
            damaged += slices is None
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
