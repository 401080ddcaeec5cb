"""Tables and plot of `robustness.py`."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from reports import made_by, moments, table
from scipy.stats import spearmanr

from monai_mamba import __version__
from monai_mamba.files import MISSING
from monai_mamba.labels import LabelEntry
from monai_mamba.metrics.score_tables import number_text, table_text
from monai_mamba.metrics.structure_scores import ABSENT_RULE

from .robustness_conditions import Condition

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
    """Labels of an altered scan compared with those of the scan as it is.

    Attributes:
        condition: what was done.
        detail: more about it; empty where there is nothing to add.
        dsc: `(C,)`, 0..1, NaN where a structure is in neither label map.
        volumes: `(C,)`, mm3, in the altered scan.
        grid_dsc: `(C,)`, as `dsc`, of the labels of the scan as it is, resampled to the altered grid.
        reference_dsc: `(C,)`, as `dsc`, against the reference; None without one.
        expected_dsc: `(C,)`, 0..1, as the network expects it of its labels; NaN where it does not say.
        changed: voxels of the scan whose label is another one.
    """

    condition: Condition
    detail: str
    dsc: np.ndarray
    volumes: np.ndarray
    grid_dsc: np.ndarray
    reference_dsc: np.ndarray | None
    expected_dsc: np.ndarray
    changed: int


@dataclass(frozen=True)
class Robustness:
    """What was compared, and the result.

    Attributes:
        sources: where bundle, scan, and reference lie.
        structures: the C structures.
        outcomes: the scan as it is first.
        notes: what was left out, and why.
    """

    sources: dict[str, str]
    structures: Sequence[LabelEntry]
    outcomes: Sequence[Outcome]
    notes: Sequence[str]

    def volume_changes(self, outcome: Outcome) -> np.ndarray:
        """`(C,)`, percent of the volume in the scan as it is; NaN where that is 0."""
        before = self.outcomes[0].volumes
        return 100 * (outcome.volumes - before) / np.where(before > 0, before, np.nan)

    def differing(self) -> list[str]:
        """Conditions in which a voxel has another label although none may."""
        return [outcome.condition.name for outcome in self.outcomes if outcome.condition.exact and outcome.changed]


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
    exact = [outcome.condition.name for outcome in result.outcomes if outcome.condition.exact]
    if exact:
        wrong = result.differing()
        found = f"They differ in {', '.join(wrong)}." if wrong else "They do not."
        lines.append(f"- The labels of {', '.join(exact)} must not differ in any voxel. {found}")
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
