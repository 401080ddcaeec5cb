"""Draw the worst failures of a segmentation: image, reference and prediction side by side.

    python tools/draw_failures.py --images "scans/{subject}_T1w.nii.gz" --reference labels --prediction results \
        --output_dir pictures

Failures are the structures of scans with the lowest DSC; of the two sides of a structure in one scan the worse one
counts. The sets are folders, or paths with {subject}, as in compare_label_maps.py. The scans are those that have a
prediction, on the grid of image and reference. Writes failures.png: for each failure the slice, of any of the three
planes, in which most is labeled differently.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from evaluation.label_sets import LabelSet, find_label_set
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from reports import run_command, write_files
from tqdm import tqdm

from monai_mamba.checks import check_output_dir
from monai_mamba.data.image_file import open_image, read_image
from monai_mamba.data.image_header import check_header
from monai_mamba.data.label_values import read_label_ids
from monai_mamba.data.pairs import check_same_grid
from monai_mamba.errors import InputError
from monai_mamba.grids import bounding_box, box_corners
from monai_mamba.labels import LabelEntry, LabelTable, without_side
from monai_mamba.metrics.structure_scores import structure_scores
from monai_mamba.picture import CONVENTION, VIEWS, overlay_colors, white_level

PICTURE = "failures.png"
MARGIN_MM = 12.0


class Case(NamedTuple):
    """Files of one scan, on one grid."""

    subject: str
    image: Path
    reference: Path
    prediction: Path


class Failure(NamedTuple):
    """A structure of a scan that was found badly, and what to say of it."""

    case: Case
    structure: LabelEntry
    dsc: float
    title: str


def find_cases(images: LabelSet, reference: LabelSet, prediction: LabelSet) -> list[Case]:
    """The scans that have a prediction. Reads headers only."""
    cases = []
    for name, path in prediction.files.items():
        for other in (images, reference):
            if name not in other.files:
                raise InputError(
                    f"--{other.name} {other.source} lacks {name}, which has a prediction; it has "
                    f"{next(iter(other.files))} and others. Complete it, or mark the subject in its file names by a "
                    "path with {subject}."
                )
        image = images.files[name]
        if image in (path, reference.files[name]):
            raise InputError(
                f"--images {images.source}: {image.name} is a label map. Name the scans by a path with {{subject}}, "
                "such as 'scans/{subject}_T1w.nii.gz'."
            )
        check_header(image)
        for labels in (reference.files[name], path):
            check_header(labels)
            check_same_grid(str(image), str(labels))
        cases.append(Case(name, image, reference.files[name], path))
    return cases


def worst_failures(cases: Sequence[Case], table: LabelTable, number: int) -> list[Failure]:
    """The structures of scans with the lowest DSC below 1, worst first."""
    failures = []
    for case in tqdm(cases, desc="comparing", unit="scan"):
        reference, prediction = maps = read_label_ids(case.reference), read_label_ids(case.prediction)
        sizes = nib.affines.voxel_sizes(open_image(case.reference).affine)
        scores = structure_scores(prediction, reference, [entry.id for entry in table.structures], sizes)
        found: dict[str, Failure] = {}
        for entry, dsc in zip(table.structures, scores[:, 0].tolist(), strict=True):
            name = without_side(entry.name)
            if dsc < (found[name].dsc if name in found else 1):  # never true of a missing score, NaN
                expected, volume = (np.count_nonzero(labels == entry.id) * float(np.prod(sizes)) for labels in maps)
                text = f"DSC {dsc:.3f}, volume {volume:.0f} mm3, in the reference {expected:.0f} mm3"
                found[name] = Failure(case, entry, dsc, f"{case.subject}: {entry.name}, {text}")
        failures += found.values()
    if not failures:
        raise InputError("No failures: the label maps agree in every structure of the table. Is it the right table?")
    return sorted(failures, key=lambda failure: failure.dsc)[:number]


def draw_failures(path: Path, failures: Sequence[Failure], table: LabelTable) -> None:
    """Draw one row per failure as PNG: image, reference, prediction.

    Structures have the colors of the table; a white line is the border of the failed structure in the reference.
    """
    colors = overlay_colors(table)
    figure = Figure(figsize=(8, 0.3 + 2.9 * len(failures)), facecolor="black", layout="constrained")
    figure.suptitle(f"{CONVENTION}; white line: the structure in the reference", color="white", fontsize=9)
    rows = figure.subfigures(len(failures), 1, squeeze=False, facecolor="black")[:, 0]
    for row, failure in zip(rows, failures, strict=True):
        (image, *maps), spacing = read_volumes(failure.case)
        reference, prediction = (labels == failure.structure.id for labels in maps)
        (plane, axis, sides), cut = telling_part(reference, prediction, spacing)
        across, up = (spacing[other] for other in range(3) if other != axis)
        overlays = [None, *(colors[np.where(labels < len(colors), labels, 0)[cut]] for labels in maps)]
        panels = row.subplots(1, 3)
        for panel, name, overlay in zip(panels, (f"image, {plane}", "reference", "prediction"), overlays, strict=True):
            show_slice(panel, image[cut], white_level([image[cut]]), up / across, sides, overlay)
            panel.set_title(name, color="white", fontsize=8)
            if overlay is not None and reference[cut].any():
                panel.contour(reference[cut].T, levels=[0.5], colors="white", linewidths=1)
        row.suptitle(failure.title, color="white", fontsize=9)
    figure.savefig(path, dpi=100, format="png")


def show_slice(
    panel: Axes,
    part: np.ndarray,
    white: float,
    aspect: float,
    sides: tuple[str, str],
    overlay: np.ndarray | None = None,
) -> None:
    """Show a slice `(across, up)` of a volume in RAS orientation, below colors `(across, up, 4)`, RGBA in 0..1.

    Black is 0, or the smallest intensity if that is negative; `sides` lie on the left and on the right.
    """
    panel.imshow(part.T, cmap="gray", vmin=min(0.0, float(part.min())), vmax=white, origin="lower", aspect=aspect)
    if overlay is not None:
        panel.imshow(overlay.transpose(1, 0, 2), origin="lower", aspect=aspect, interpolation="nearest")
    for position, align, side in zip((0.02, 0.98), ("left", "right"), sides, strict=True):
        panel.text(position, 0.5, side, color="white", ha=align, va="center", transform=panel.transAxes)
    panel.set_axis_off()


def read_volumes(case: Case) -> tuple[list[np.ndarray], np.ndarray]:
    """Image, reference and prediction `(H, W, D)`, turned to RAS, and the size of their voxels in mm."""
    source = read_image(case.image)
    image = np.asanyarray(source.dataobj).reshape(source.shape[:3]).astype(np.float32)
    volumes = [np.nan_to_num(image, posinf=0.0, neginf=0.0), *map(read_label_ids, (case.reference, case.prediction))]
    turned = [nib.as_closest_canonical(nib.Nifti1Image(volume, source.affine)) for volume in volumes]
    return [np.asarray(volume.dataobj) for volume in turned], nib.affines.voxel_sizes(turned[0].affine)


def telling_part(
    reference: np.ndarray, prediction: np.ndarray, spacing: np.ndarray
) -> tuple[tuple[str, int, tuple[str, str]], tuple[int | slice, ...]]:
    """Where two masks `(H, W, D)` in RAS differ by the largest area: the plane, out of `VIEWS`, and the part to show.

    The part is one slice, cut to a square in mm around both masks and `MARGIN_MM`, as far as the volume reaches.
    """
    wrong = reference != prediction
    areas = [
        wrong.sum(axis=tuple(other for other in range(3) if other != axis)) * spacing.prod() / spacing[axis]
        for _, axis, _ in VIEWS
    ]
    plane = int(np.argmax([area.max() for area in areas]))
    axis, index = VIEWS[plane][1], int(np.argmax(areas[plane]))
    first, last = box_corners(bounding_box((reference | prediction).take(index, axis=axis)))
    step = np.delete(spacing, axis)
    low, high = first * step, (last + 1) * step
    half = max(high - low) / 2 + MARGIN_MM
    start = np.maximum(np.floor(((low + high) / 2 - half) / step), 0).astype(int)
    stop = np.ceil(((low + high) / 2 + half) / step).astype(int)
    cut: list[int | slice] = [slice(int(a), int(b)) for a, b in zip(start, stop, strict=True)]
    cut.insert(axis, index)
    return VIEWS[plane], tuple(cut)


def make_picture(options: argparse.Namespace) -> None:
    """Check the sets, find the failures, draw and name them."""
    table = LabelTable.load(options.labels)
    if options.worst < 1:
        raise InputError(f"--worst is {options.worst}, expected a whole number from 1.")
    names = ("images", "reference", "prediction")
    cases = find_cases(*(find_label_set(name, getattr(options, name)) for name in names))
    check_output_dir(options.output_dir)
    failures = worst_failures(cases, table, options.worst)
    folder = Path(options.output_dir).expanduser()
    write_files(folder, {PICTURE: lambda file: draw_failures(file, failures, table)})
    print(f"Wrote {folder / PICTURE}:", *(failure.title for failure in failures), sep="\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, metavar="SET", help="the scans")
    parser.add_argument("--reference", required=True, metavar="SET", help="their reference label maps")
    parser.add_argument("--prediction", required=True, metavar="SET", help="their predicted label maps")
    parser.add_argument("--output_dir", required=True, help=f"folder for {PICTURE}")
    parser.add_argument("--labels", default="subcortical", help="label table: a name or a TSV file (%(default)s)")
    parser.add_argument("--worst", type=int, default=6, metavar="N", help="how many to draw (%(default)s)")
    return run_command(make_picture, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
