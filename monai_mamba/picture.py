"""A picture to check a segmentation by eye."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from monai_mamba.labels import LabelTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VIEWS = (("sagittal", 0, ("P", "A")), ("coronal", 1, ("L", "R")), ("axial", 2, ("L", "R")))
OPACITY = 0.6
CLOSE_UP_MM = 20.0
CONVENTION = "Neurological convention: the patient's left (L) is on the left"


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
    # Here, because importing matplotlib takes a second that nobody else should pay.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    to_ras = nib.io_orientation(source.affine)
    image = np.asanyarray(source.dataobj).reshape(source.shape[:3])
    image, labels = nib.apply_orientation(image, to_ras), nib.apply_orientation(labels, to_ras)
    order = np.argsort(to_ras[:, 0])
    spacing = nib.affines.voxel_sizes(source.affine)[order]
    marked = np.argwhere(labels)
    if close_up and len(marked):
        margin = np.ceil(CLOSE_UP_MM / spacing).astype(int)
        low, high = np.maximum(marked.min(axis=0) - margin, 0), marked.max(axis=0) + margin + 1
        part = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        image, labels = image[part], labels[part]
    chosen = [_telling_slice(labels, axis) for axis in range(3)]

    colors = overlay_colors(table)
    slices = [image.take(chosen[axis], axis=axis).astype(np.float32) for _, axis, _ in VIEWS]
    slices = [np.nan_to_num(part, posinf=0.0, neginf=0.0) for part in slices]
    white = white_level(slices)
    figure = Figure(figsize=(12, 8.5), facecolor="black")  # without a layout engine, which is slow
    FigureCanvasAgg(figure)
    edges = {"left": 0.01, "right": 0.99, "bottom": 0.01, "top": 0.91, "wspace": 0.02, "hspace": 0.02}
    axes = figure.subplots(2, 3, gridspec_kw=edges)
    for column, ((name, axis, sides), part) in enumerate(zip(VIEWS, slices, strict=True)):
        across, up = (spacing[other] for other in range(3) if other != axis)
        overlay = colors[labels.take(chosen[axis], axis=axis)]
        for row in range(2):
            show_slice(axes[row, column], part, white, up / across, sides, overlay if row else None)
        # No title of the axes, which would lay out their ticks: a third of the time.
        axes[0, column].text(0.5, 1.02, name, color="white", size=12, ha="center", transform=axes[0, column].transAxes)
    figure.suptitle(CONVENTION, color="white", fontsize=11)
    figure.savefig(path, dpi=100, format="png")


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


def show_slice(
    panel: Axes,
    part: np.ndarray,
    white: float,
    aspect: float,
    sides: tuple[str, str],
    overlay: np.ndarray | None = None,
) -> None:
    """Show a slice of a volume in RAS orientation.

    Args:
        panel: axes of matplotlib.
        part: intensities `(across, up)`; black is 0, or the smallest one if that is negative.
        white: see `white_level`.
        aspect: height of a pixel divided by its width.
        sides: what lies on the left and on the right.
        overlay: colors `(across, up, 4)`, RGBA in 0..1.
    """
    panel.imshow(part.T, cmap="gray", vmin=min(0.0, float(part.min())), vmax=white, origin="lower", aspect=aspect)
    if overlay is not None:
        panel.imshow(overlay.transpose(1, 0, 2), origin="lower", aspect=aspect, interpolation="nearest")
    for position, side in zip((0.02, 0.98), sides, strict=True):
        align = "left" if position < 0.5 else "right"
        panel.text(position, 0.5, side, color="white", ha=align, va="center", transform=panel.transAxes)
    panel.set_axis_off()


def _telling_slice(labels: np.ndarray, axis: int) -> int:
    """Index of the slice with the most structures, and of several such slices that with most voxels of them."""
    voxels = np.nonzero(labels)
    if not len(voxels[axis]):
        return labels.shape[axis] // 2
    ids, structure = np.unique(labels[voxels], return_inverse=True)
    counts = np.zeros((labels.shape[axis], len(ids)))
    np.add.at(counts, (voxels[axis], structure), 1)
    shown = counts >= counts.max(axis=0) / 4  # of its largest cross-section: a speck of a structure shows nothing of it
    return int(np.argmax(shown.sum(axis=1) + counts.sum(axis=1) / (counts.sum() + 1)))
