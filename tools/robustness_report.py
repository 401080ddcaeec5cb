"""Tables and plot of `robustness.py`."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from report_files import score_lines
from robustness_conditions import Condition
from scipy.stats import spearmanr

from monai_mamba import __version__
from monai_mamba.errors import InputError
from monai_mamba.labels import LabelEntry
from monai_mamba.metrics.score_tables import number_text, table_text

BEGIN, END = "<!-- robustness: begin -->", "<!-- robustness: end -->"
LARGEST_CHANGE = 50.0  # end of the color scale of volume changes, %
COLUMNS = {
    "group": "Kind of alteration.",
    "condition": "Name of the altered scan; 'unaltered' is the scan as it is.",
    "id": "Label id of the structure.",
    "name": "Name of the structure.",
    "dsc": "Dice similarity coefficient, 0..1, of the labels of the altered scan and those of the scan as it is, "
    "compared in space (each voxel as a box) after the movement of the head was undone.",
    "grid_dsc": "The same for the labels of the scan as it is, resampled to the grid of the altered scan with nearest "
    "neighbor: how much the other grid alone costs, without a network.",
    "reference_dsc": "The same for the labels of the altered scan and the reference.",
    "expected_dsc": "The DSC that the network itself expects of its labels in the altered scan, from its table.",
    "volume_mm3": "Volume in the altered scan, on its own grid: voxels times voxel volume.",
    "volume_change_percent": "Difference of that volume from the one in the scan as it is, in percent of the latter.",
}


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
        command: makes the report again.
    """

    sources: dict[str, str]
    structures: Sequence[LabelEntry]
    outcomes: Sequence[Outcome]
    notes: Sequence[str]
    command: str

    def volume_changes(self, outcome: Outcome) -> np.ndarray:
        """`(C,)`, percent of the volume in the scan as it is; NaN where that is 0."""
        before = self.outcomes[0].volumes
        return 100 * (outcome.volumes - before) / np.where(before > 0, before, np.nan)

    @property
    def foretold(self) -> bool:
        """Whether the network said what DSC it expects of the scan as it is."""
        return bool(np.isfinite(self.outcomes[0].expected_dsc).any())

    def differing(self) -> list[str]:
        """Conditions in which a voxel has another label although none may."""
        return [outcome.condition.name for outcome in self.outcomes if outcome.condition.exact and outcome.changed]


def report_files(result: Robustness) -> dict[str, str | Callable[[Path], object]]:
    """The report as files for `write_report_files`: `robustness.csv`, `columns.json` (its columns), `robustness.png`,
    and `report.md`."""
    lines = ["# Robustness", "", *summary_lines(result)]
    lines += ["", "## Plot", "", "![Each structure in each condition](robustness.png)", ""]
    return {
        "columns.json": json.dumps(COLUMNS, indent=2) + "\n",
        "robustness.csv": table_text(list(COLUMNS), _rows(result), ","),
        "robustness.png": lambda file: draw_heat_maps(file, result),
        "report.md": "\n".join(lines),
    }


def document_text(document: Path, lines: Sequence[str]) -> str:
    """The text of a document with new lines between its lines `BEGIN` and `END`.

    Raises:
        InputError: it cannot be read, or the two lines do not stand there once each and in this order.
    """
    try:
        text = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--document {document}: it cannot be read ({error}). Give a Markdown file.") from error
    before, begin, rest = text.partition(BEGIN + "\n")
    _, end, after = rest.partition(END)
    if not (begin and end) or text.count(BEGIN) + text.count(END) > 2:
        raise InputError(f"--document {document}: expected the lines {BEGIN} and {END} once each, in this order.")
    return "\n".join([before + BEGIN, "", *lines, "", END]) + after


def summary_lines(result: Robustness) -> list[str]:
    """The summary as Markdown: how it was made, and a line per condition."""
    lines = [f"Made on {datetime.date.today().isoformat()} with monai-mamba {__version__} by", ""]
    lines += [f"    {result.command}", "", *(f"- {name}: `{source}`" for name, source in result.sources.items())]
    lines.append(f"- {len(result.structures)} structures, one scan (n = 1)")
    lines += [f"- {note}" for note in result.notes]
    exact = [outcome.condition.name for outcome in result.outcomes if outcome.condition.exact]
    if exact:
        wrong = result.differing()
        lines.append(f"- The labels of {', '.join(exact)} must not differ in any voxel. ")
        lines[-1] += f"They differ in {', '.join(wrong)}." if wrong else "They do not."
    if sentence := _foresight(result):
        lines.append(f"- {sentence}")
    lines += [
        "",
        "DSC and volume change compare the labels of the altered scan with those of the scan as it is. 'DSC, grid' is "
        "what another grid alone costs: the labels of the scan as it is, resampled to it with nearest neighbor.",
    ]
    columns = ["condition", "DSC, mean", "DSC, worst structure", "DSC, grid", "volume change, mean of sizes"]
    columns += ["volume change, largest", "voxels that differ"]
    columns += ["DSC to the reference"] * (result.outcomes[0].reference_dsc is not None)
    columns += ["DSC expected"] * result.foretold
    return [*lines, *score_lines(columns, [_summary(result, outcome) for outcome in result.outcomes])]


def _foresight(result: Robustness) -> str | None:
    """How far the network's own expectation tells good labels from bad ones; None if that cannot be told."""
    if result.outcomes[0].reference_dsc is None or not result.foretold:
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


def _summary(result: Robustness, outcome: Outcome) -> list[str]:
    changes = result.volume_changes(outcome)
    what = outcome.condition.what + (f" ({outcome.detail})" if outcome.detail else "")
    row = [what, _mean(outcome.dsc), _extreme(result, -outcome.dsc, outcome.dsc, ".3f"), _mean(outcome.grid_dsc)]
    row += [f"{np.nanmean(np.abs(changes)):.1f} %", _extreme(result, np.abs(changes), changes, "+.1f", " %")]
    row.append(str(outcome.changed))
    row += [] if outcome.reference_dsc is None else [_mean(outcome.reference_dsc)]
    return [*row, _mean(outcome.expected_dsc)] if result.foretold else row


def _mean(values: np.ndarray) -> str:
    return f"{np.nanmean(values):.3f}"


def _extreme(result: Robustness, order: np.ndarray, values: np.ndarray, form: str, unit: str = "") -> str:
    """The value of the structure that comes first in `order`, with its name."""
    row = int(np.nanargmax(order))
    return f"{values[row]:{form}}{unit} ({result.structures[row].name})"


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
