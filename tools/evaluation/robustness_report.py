"""Labels of altered scans compared with those of the scan as it is, in space; tables and plot of the result."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from reports import made_by, moments, table
from scipy.stats import spearmanr

from monai_mamba import __version__
from monai_mamba.files import MISSING, table_text
from monai_mamba.grids import bounding_box, box_corners, box_shape, box_union, map_box, voxel_map
from monai_mamba.labels import LabelEntry, LabelTable
from monai_mamba.metrics.score_tables import number_text
from monai_mamba.metrics.structure_scores import ABSENT_RULE

from .label_sets import volumes
from .robustness_conditions import Change, Condition, onto_grid

CONDITION_COLUMNS = (
    *("condition", "dsc", "worst_dsc", "worst_structure", "grid_dsc"),
    *("volume_change_percent", "largest_change_percent", "largest_change_structure"),
    *("changed_voxels", "reference_dsc", "expected_dsc"),
)
SHOWN = {  # in the report
    "condition": "condition",
    "DSC": "dsc",
    "DSC, grid": "grid_dsc",
    "volume change (%)": "volume_change_percent",
    "DSC to the reference": "reference_dsc",
    "DSC expected": "expected_dsc",
}
LARGEST_CHANGE = 50.0  # end of the color scale of volume changes, %
STRUCTURE_COLUMNS = (
    *("group", "condition", "id", "name"),
    *("dsc", "grid_dsc", "reference_dsc", "expected_dsc", "volume_mm3", "volume_change_percent"),
)


@dataclass(frozen=True)
class Outcome:
    """Labels of an altered scan compared with those of the scan as it is: arrays `(C,)`, DSC 0..1.

    A DSC is NaN where a structure is in neither label map.
    """

    condition: Condition
    detail: str  # more about it; empty where there is nothing to add
    dsc: np.ndarray
    volumes: np.ndarray  # mm3, in the altered scan
    grid_dsc: np.ndarray  # of the labels of the scan as it is, resampled to the altered grid
    reference_dsc: np.ndarray | None  # against the reference, if there is one
    expected_dsc: np.ndarray  # as the network expects it of its labels; NaN where it does not say
    changed: int  # voxels of the scan whose label is another one


def compare(
    condition: Condition,
    change: Change,
    labels: nib.Nifti1Image,
    baseline: nib.Nifti1Image,
    reference: nib.Nifti1Image | None,
    table: LabelTable,
    ids: Sequence[int],
    expected_dsc: np.ndarray,
) -> Outcome:
    """Compare the labels of an altered scan with those of the scan as it is, and with the reference.

    Label maps on different grids are compared in space, each voxel as the box that it is: all of them are read at the
    centers of boxes of half the baseline's voxel size. On the baseline's own grid, labels would be moved by up to half
    a voxel, which for thin structures counts more than most alterations. `labels` are those of the altered scan,
    `baseline` of the scan as it is; `ids` are the C structures to compare.
    """
    found, moved = change.undo(labels, table)
    expected, affine = np.asanyarray(baseline.dataobj), baseline.affine
    resampled = onto_grid(expected, affine, found.shape, moved)
    maps = [(expected, affine), (found, moved), (resampled, moved)]
    if reference is not None:
        maps.append((np.asanyarray(reference.dataobj), reference.affine))
    maps = [(np.where(np.isin(values, ids), values, 0), place) for values, place in maps]
    shape, grid = fine_grid(maps, expected.shape, affine)
    truth, prediction, itself, *others = (onto_grid(values, place, shape, grid) for values, place in maps)
    back = onto_grid(found, moved, expected.shape, affine)
    return Outcome(
        condition=condition,
        detail=change.detail,
        dsc=overlaps(prediction, truth, ids),
        volumes=volumes(found, moved, ids),
        grid_dsc=overlaps(itself, truth, ids),
        reference_dsc=overlaps(prediction, others[0], ids) if others else None,
        expected_dsc=expected_dsc,
        changed=int(np.count_nonzero(back != expected)),
    )


def fine_grid(
    maps: Sequence[tuple[np.ndarray, np.ndarray]], shape: Sequence[int], affine: np.ndarray
) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of the part of a grid that holds all labels of some maps, each of its voxels split into 8."""
    boxes = []
    for ids, place in maps:
        if part := bounding_box(ids > 0):
            low, high = box_corners(part)
            boxes.append(map_box(voxel_map(place, affine), low - 0.5, high + 0.5, shape))
    whole = box_union([box for box in boxes if box])
    halves = nib.affines.from_matvec(np.eye(3) / 2, box_corners(whole)[0] - 0.25)
    return tuple(2 * size for size in box_shape(whole)), affine @ halves


def overlaps(prediction: np.ndarray, reference: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """DSC of each of the C structures, `(C,)`, 0..1; NaN where it is in neither of two label maps on one grid."""
    length = int(max(*ids, prediction.max(), reference.max())) + 1
    sizes = sum(np.bincount(labels.ravel(), minlength=length) for labels in (prediction, reference))[list(ids)]
    common = np.bincount(prediction[prediction == reference], minlength=length)[list(ids)]
    return np.where(sizes > 0, 2 * common / np.maximum(sizes, 1), np.nan)


@dataclass(frozen=True)
class Robustness:
    """What was compared, and the result."""

    sources: dict[str, str]  # where bundle, scan, and reference lie
    structures: Sequence[LabelEntry]  # of which there are C
    outcomes: Sequence[Outcome]  # the scan as it is first
    notes: Sequence[str]  # what was left out, and why

    def volume_changes(self, outcome: Outcome) -> np.ndarray:
        """`(C,)`, percent of the volume in the scan as it is; NaN where that is 0."""
        before = self.outcomes[0].volumes
        return 100 * (outcome.volumes - before) / np.where(before > 0, before, np.nan)


def report_files(result: Robustness) -> dict[str, str | Callable[[Path], object]]:
    """The report as files: `report.md`, `conditions.tsv` (a line per condition), `robustness.csv` (a line per condition
    and structure, columns as in `Outcome`) and `robustness.png`."""
    return {
        "robustness.csv": table_text(STRUCTURE_COLUMNS, _rows(result), ","),
        "conditions.tsv": table_text(CONDITION_COLUMNS, [_condition(result, outcome) for outcome in result.outcomes]),
        "robustness.png": lambda file: draw_heat_maps(file, result),
        "report.md": _markdown(result),
    }


def _markdown(result: Robustness) -> str:
    lines = ["# Robustness\n", made_by(f"{__version__} on {datetime.date.today().isoformat()}.")]
    lines += [f"- {name}: `{source}`" for name, source in result.sources.items()]
    lines.append(f"- {len(result.structures)} structures, one scan (n = 1)")
    lines += [f"- {note}" for note in result.notes]
    if exact := [outcome for outcome in result.outcomes if outcome.condition.exact]:
        names, wrong = ([one.condition.name for one in some] for some in (exact, [one for one in exact if one.changed]))
        found = f"They differ in {', '.join(wrong)}." if wrong else "They do not."
        lines.append(f"- The labels of {', '.join(names)} must not differ in any voxel. {found}")
    if sentence := foresight(result):
        lines.append(f"- {sentence}")
    rows = [dict(zip(CONDITION_COLUMNS, _condition(result, outcome), strict=True)) for outcome in result.outcomes]
    shown = {title: key for title, key in SHOWN.items() if any(row[key] != MISSING for row in rows)}
    lines += [
        "\nDSC and volume change compare the labels of the altered scan with those of the unaltered scan. 'DSC, grid' "
        "is the cost of the other grid alone: the labels of the unaltered scan, resampled to it with nearest neighbor. "
        "Means over the structures; volume changes without their sign. `conditions.tsv` adds the worst structure of "
        f"each condition, and `robustness.csv` has every structure. {ABSENT_RULE}\n",
        table(list(shown), [[row[key] for key in shown.values()] for row in rows]),
        "![Each structure in each condition](robustness.png)\n",
    ]
    return "\n".join(lines)


def foresight(result: Robustness) -> str | None:
    """How far the network's own expectation tells good labels from bad ones; None if that cannot be told."""
    if result.outcomes[0].reference_dsc is None:
        return None
    expected, found = (
        np.stack([getattr(outcome, name) for outcome in result.outcomes]) for name in ("expected_dsc", "reference_dsc")
    )
    both = np.isfinite(expected) & np.isfinite(found)
    scans = both.all(axis=0)  # the same structures in every scan, or their means could not be compared
    if len(result.outcomes) < 3 or not scans.any():
        return None
    means = spearmanr(expected[:, scans].mean(axis=1), found[:, scans].mean(axis=1)).statistic
    each = spearmanr(expected[both], found[both]).statistic
    return (
        "Expected DSC (from the network's own probabilities) and DSC to the reference, rank correlation: "
        f"{means:.2f} over the means of the {len(result.outcomes)} scans, {each:.2f} over all {both.sum()} structures."
    )


def _condition(result: Robustness, outcome: Outcome) -> list[str]:
    """Cells of `CONDITION_COLUMNS`."""
    changes = result.volume_changes(outcome)
    worst, largest = int(np.nanargmin(outcome.dsc)), int(np.nanargmax(np.abs(changes)))
    what = outcome.condition.what + (f" ({outcome.detail})" if outcome.detail else "")
    row = [what, moments(outcome.dsc)[0], f"{outcome.dsc[worst]:.3f}", result.structures[worst].name]
    row += [moments(outcome.grid_dsc)[0], moments(np.abs(changes), 1)[0]]
    row += [f"{changes[largest]:+.1f}", result.structures[largest].name, str(outcome.changed)]
    row.append(MISSING if outcome.reference_dsc is None else moments(outcome.reference_dsc)[0])
    return [*row, moments(outcome.expected_dsc)[0]]


def _rows(result: Robustness) -> list[list]:
    rows = []
    for outcome in result.outcomes:
        reference = np.full(len(result.structures), np.nan) if outcome.reference_dsc is None else outcome.reference_dsc
        scores = outcome.dsc, outcome.grid_dsc, reference, outcome.expected_dsc
        amounts = outcome.volumes, result.volume_changes(outcome)
        for entry, *values in zip(result.structures, *scores, *amounts, strict=True):
            numbers = [number_text(float(value)) for value in values]
            rows.append([outcome.condition.group, outcome.condition.name, entry.id, entry.name, *numbers])
    return rows


def draw_heat_maps(path: Path, result: Robustness) -> None:
    """Draw DSC and volume change of each structure in each condition, one above the other, as PNG.

    Gray: no value, because the structure is in neither label map, or has no volume in the scan as it is.
    """
    altered = result.outcomes[1:]
    dsc = np.stack([outcome.dsc for outcome in altered], axis=1)
    changes = np.stack([result.volume_changes(outcome) for outcome in altered], axis=1)
    names = [entry.name for entry in result.structures]
    size = (5 + 0.32 * len(altered), 3.5 + 0.42 * len(names))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    scales = (Normalize(0, 1), Normalize(-LARGEST_CHANGE, LARGEST_CHANGE))
    titles = ("DSC with the labels of the scan as it is", "volume change (%)")
    for panel, values, scale, title, colors, extend in zip(
        panels, (dsc, changes), scales, titles, ("viridis", "RdBu_r"), ("neither", "both"), strict=True
    ):
        panel.set_facecolor("lightgray")
        picture = panel.imshow(values, norm=scale, cmap=colors, aspect="auto", interpolation="none")
        panel.set_yticks(range(len(names)), names, fontsize=8)
        panel.set_title(title)
        figure.colorbar(picture, ax=panel, extend=extend)
    panels[-1].set_xticks(range(len(altered)), [outcome.condition.name for outcome in altered], rotation=90)
    figure.savefig(path, dpi=100, format="png")
