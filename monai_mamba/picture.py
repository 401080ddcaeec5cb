"""A picture to check a segmentation by eye."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from monai_mamba.grids import bounding_box
from monai_mamba.labels import LabelTable

VIEWS = (("sagittal", 0, ("P", "A")), ("coronal", 1, ("L", "R")), ("axial", 2, ("L", "R")))
OPACITY = 0.6
CLOSE_UP_MM = 20.0
CONVENTION = "Neurological convention: the patient's left (L) is on the left"
PANEL, GAP, TOP = 392, 8, 64  # pixels: side of a panel, what lies between panels, and above them


def draw_labels(
    path: Path, source: nib.spatialimages.SpatialImage, labels: np.ndarray, table: LabelTable, close_up: bool = False
) -> None:
    """Draw the slices that show most structures, plain above and with labels below, as PNG, in neurological convention.

    Args:
        path: file to write.
        source: the scan; its third and later axes of length 1 are dropped.
        labels: `(H, W, D)` label ids on the grid of the scan.
        table: gives the colors.
        close_up: cut the image to the labels and 20 mm around them.
    """
    to_ras = nib.io_orientation(source.affine)
    image = np.asanyarray(source.dataobj).reshape(source.shape[:3])
    image, labels = nib.apply_orientation(image, to_ras), nib.apply_orientation(labels, to_ras)
    order = np.argsort(to_ras[:, 0])
    spacing = nib.affines.voxel_sizes(source.affine)[order]
    if close_up and labels.any():
        part = bounding_box(labels > 0, np.ceil(CLOSE_UP_MM / spacing).astype(int).tolist())
        image, labels = image[part], labels[part]
    chosen = _telling_slices(labels)

    colors = overlay_colors(table)
    slices = [image.take(chosen[axis], axis=axis).astype(np.float32) for _, axis, _ in VIEWS]
    slices = [np.nan_to_num(part, posinf=0.0, neginf=0.0) for part in slices]
    white = white_level(slices)
    canvas = Image.new("RGB", (3 * PANEL + 4 * GAP, TOP + 2 * (PANEL + GAP)))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    pen.text((canvas.width / 2, 14), CONVENTION, font=font, anchor="mm")
    for column, ((name, axis, (first, last)), part) in enumerate(zip(VIEWS, slices, strict=True)):
        black = min(0.0, float(part.min()))
        size = np.delete(spacing, axis) * part.shape
        size = tuple(np.maximum(size * (PANEL / size.max()), 1).astype(int))
        plain = _pixels(np.clip((part - black) / (white - black), 0, 1)).resize(size).convert("RGB")
        overlay = _pixels(colors[labels.take(chosen[axis], axis=axis)]).resize(size, Image.Resampling.NEAREST)
        labeled = plain.copy()
        labeled.paste(overlay, mask=overlay)
        left = GAP + column * (PANEL + GAP)
        pen.text((left + PANEL / 2, TOP - 16), name, font=font, anchor="mm")
        for row, picture in enumerate((plain, labeled)):
            top = TOP + row * (PANEL + GAP)
            canvas.paste(picture, (left + (PANEL - size[0]) // 2, top + (PANEL - size[1]) // 2))
            pen.text((left + GAP, top + PANEL / 2), first, font=font, anchor="lm")
            pen.text((left + PANEL - GAP, top + PANEL / 2), last, font=font, anchor="rm")
    canvas.save(path, "PNG")


def _pixels(part: np.ndarray) -> Image.Image:
    """A slice `(across, up)`, gray, or `(across, up, 4)`, RGBA, of values 0..1, as a picture with up above."""
    return Image.fromarray(np.ascontiguousarray(part.swapaxes(0, 1)[::-1] * 255).round().astype(np.uint8))


def overlay_colors(table: LabelTable) -> np.ndarray:
    """Color of each label id, `(largest id + 1, 4)`, RGBA in 0..1; what is not written is transparent."""
    colors = np.zeros((max(table.ids) + 1, 4), dtype=np.float32)
    for entry in table.structures:
        colors[entry.id] = np.array(entry.color) / 255
    colors[:, 3] *= OPACITY
    return colors


def white_level(slices: Sequence[np.ndarray]) -> float:
    """The intensity to show as white: above it lie the brightest 0.5 % of the pixels."""
    return max(float(np.percentile(np.concatenate([part.ravel() for part in slices]), 99.5)), 1e-6)


def _telling_slices(labels: np.ndarray) -> list[int]:
    """Along each axis, the slice with the most structures, and of several such slices that with most voxels of them."""
    voxels = np.nonzero(labels)
    if not voxels[0].size:
        return [size // 2 for size in labels.shape]
    ids, structure = np.unique(labels[voxels], return_inverse=True)
    chosen = []
    for size, places in zip(labels.shape, voxels, strict=True):
        counts = np.bincount(places * len(ids) + structure, minlength=size * len(ids)).reshape(size, -1)
        shown = counts >= counts.max(axis=0) / 4  # of its largest cross-section: a speck shows nothing of a structure
        chosen.append(int(np.argmax(shown.sum(axis=1) + counts.sum(axis=1) / (counts.sum() + 1))))
    return chosen
