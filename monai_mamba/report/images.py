"""Scans, label maps and pictures in the form in which a page can carry them."""

from __future__ import annotations

import base64
import gzip
import io
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine

from monai_mamba.data.content import check_sources
from monai_mamba.data.image_file import read_image
from monai_mamba.data.pairs import check_same_grid
from monai_mamba.errors import InputError
from monai_mamba.grids import label_boxes
from monai_mamba.labels import LabelTable
from monai_mamba.report.results import ScanResult, Source

MAX_VOXELS = 2**25  # twice 256^3: more is slow to draw, and makes a large page
WHITE_PERCENTILE = 99.8


@dataclass(frozen=True)
class EmbeddedScan:
    """A scan with its labels for the viewer, both as NIfTI files of 8 bits, compressed by gzip, in base64.

    Attributes:
        labels: channels of the label table (0..K-1).
        points: label id to a voxel in the middle of the structure, in mm (RAS); only structures that are there.
        step: every how many voxels of the files there is one along each axis.
    """

    name: str
    image: str
    labels: str
    points: dict[int, list[float]]
    step: int


def embed_scan(result: ScanResult, source: Source) -> EmbeddedScan:
    """Read a scan and its label map for the viewer.

    Intensities are cut at 0 (or the minimum, if negative) and the 99.8th percentile and stored in 8 bits, enough to
    look at. Nothing of the header is kept but the affine: descriptive fields may name a person.

    Raises:
        InputError: a file cannot be read, the two do not share one grid, or the labels are of another scan.
    """
    path = str(result.path("labels"))
    check_same_grid(source.path, path)
    check_sources(path, source.path, "Give the --input of its run.")
    image, _ = _voxels(source.path, source.volume)
    labels, affine = _voxels(path)
    # Of a view of every few voxels, the affine changes with it: its columns grow, its origin stays.
    step = 1
    while image[::step, ::step, ::step].size > MAX_VOXELS:
        step += 1
    thin = (slice(None, None, step),) * 3
    affine = affine @ np.diag([step, step, step, 1.0])
    image, channels = _gray(image[thin].astype(np.float32)), _channels(labels[thin], result.table, path)
    points = {}
    for index, box in label_boxes(channels).items():
        inside = np.argwhere(channels[box] == index) + [part.start for part in box]
        middle = inside[np.square(inside - inside.mean(axis=0)).sum(axis=1).argmin()]
        points[result.table.ids[index]] = apply_affine(affine, middle).round(2).tolist()
    return EmbeddedScan(result.name, _nifti(image, affine), _nifti(channels, affine), points, step)


def embed_picture(path: Path, width: int) -> str:
    """A picture as a JPEG of at most `width` pixels, as a data URI.

    Raises:
        InputError: it cannot be read.
    """
    # Here, as wherever an import takes time that most users of the package need not pay.
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:  # the last one is what Pillow raises for a broken PNG
        raise InputError(f"{path}: cannot be read as a picture ({error}). Run the bundle again.") from error
    picture.thumbnail((width, width))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _voxels(path: str, volume: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    image = read_image(path)
    data = image.dataobj if volume is None else image.dataobj[..., volume]
    return np.asanyarray(data).reshape(image.shape[:3]), np.asarray(image.affine, dtype=float)


def _gray(image: np.ndarray) -> np.ndarray:
    """Intensities `(H, W, D)` as 0..255."""
    image = np.nan_to_num(image, posinf=0.0, neginf=0.0)
    black = min(0.0, float(image.min()))
    white = max(float(np.percentile(image, WHITE_PERCENTILE)), black + 1e-6)
    return (np.clip((image - black) / (white - black), 0, 1) * 255).round().astype(np.uint8)


def _channels(labels: np.ndarray, table: LabelTable, path: str) -> np.ndarray:
    """Label ids `(H, W, D)` as channels of their table: small numbers make small tables of colors."""
    found = np.unique(labels)
    unknown = sorted(set(found.tolist()) - set(table.ids))
    if unknown:
        ids = ", ".join(f"{number:g}" for number in unknown[:5])
        raise InputError(f"{path}: the label {ids} is not in its label table. Run the bundle again.")
    return np.array([table.index_of_id[int(number)] for number in found], np.uint8)[np.searchsorted(found, labels)]


def _nifti(voxels: np.ndarray, affine: np.ndarray) -> str:
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    return base64.b64encode(gzip.compress(image.to_bytes(), 6, mtime=0)).decode("ascii")
