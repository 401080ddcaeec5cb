"""Tables and plots of `compare_label_maps.py`."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from reports import made_by, spread, table

from monai_mamba import __version__
from monai_mamba.files import table_text
from monai_mamba.labels import LabelEntry
from monai_mamba.metrics.score_tables import ALL, COLUMN_NOTES, SUMMARY_COLUMNS, number_text, summary_rows
from monai_mamba.metrics.structure_scores import ABSENT_RULE, SCORES, mean_over_scans

from .paired_tests import TEST_NOTES, TITLES, PairedTest, paired_tests

OVERALL = "overall"
TEST_COLUMNS = ("metric", "a", "b", "n", "unpaired", "mean a - b", "median a - b", "p", "p (Holm)", "effect size")
SCORE_COLUMNS = ("dataset", "method", "subject", "id", "name", *SCORES, "volume_mm3", "reference_mm3")
NOTES = {
    "dataset": f"Data set; '{OVERALL}' are all scans together.",
    "method": "Name of the set of label maps.",
    "volume_mm3, reference_mm3": "Volume by the method and in the reference, voxels times voxel volume.",
    **COLUMN_NOTES,
    **{f"{column} (tests)": note for column, note in TEST_NOTES.items()},
}
NOTES_AND_PLOTS = (
    "## Notes on the tests\n",
    *(f"- {column}: {note}" for column, note in TEST_NOTES.items()),
    "- Tests of the structures are in tests.csv.",
    "\n## Plots\n",
    "![Scores of each structure](boxplots.png)\n",
    "![Volumes](bland_altman.png)\n",
)


@dataclass(frozen=True)
class Comparison:
    """What was compared, N scans and C structures, and the result."""

    sources: Mapping[str, str]  # where each set lies, the reference first
    subjects: Sequence[str]  # names of the scans
    structures: Sequence[LabelEntry]
    datasets: Mapping[str, Sequence[int]]  # positions of the scans of each, where data sets are told apart
    scores: Mapping[str, torch.Tensor]  # `(N, C, 4)` of each method, columns as in `SCORES`, NaN where missing
    volumes: Mapping[str, np.ndarray]  # `(N, C)` in mm3 of each set, the reference first
    found: Mapping[str, set[int]]  # label ids that occur in each set

    def groups(self) -> list[tuple[str, dict[str, torch.Tensor]]]:
        """Name and scores of each data set, and of all scans together."""
        parts = [
            (name, {method: values[list(rows)] for method, values in self.scores.items()})
            for name, rows in sorted(self.datasets.items())
        ]
        return [*parts, (OVERALL, dict(self.scores))]


def report_files(comparison: Comparison) -> dict[str, str | Callable[[Path], object]]:
    """The report as files: `scores.csv`, `summary.csv`, `tests.csv`, `columns.json` (their columns), `report.md`,
    `boxplots.png` and `bland_altman.png`."""
    structures, groups = comparison.structures, comparison.groups()
    summary = [
        [group, method, *row]
        for group, scores in groups
        for method, values in scores.items()
        for row in summary_rows(values, structures)
    ]
    tests = {group: [_as_text(test) for test in paired_tests(scores, structures)] for group, scores in groups}
    return {
        "boxplots.png": lambda file: draw_boxes(file, comparison),
        "bland_altman.png": lambda file: draw_bland_altman(file, comparison),
        "columns.json": json.dumps(NOTES, indent=2) + "\n",
        "scores.csv": table_text(SCORE_COLUMNS, _score_rows(comparison), ","),
        "summary.csv": table_text(["dataset", "method", *SUMMARY_COLUMNS], summary, ","),
        "tests.csv": table_text(
            ["dataset", *PairedTest._fields], [[group, *test] for group, rows in tests.items() for test in rows], ","
        ),
        "report.md": "\n".join(
            [*_about(comparison), *(_group(comparison, *group, tests[group[0]]) for group in groups), *NOTES_AND_PLOTS]
        ),
    }


def _score_rows(comparison: Comparison) -> list[list]:
    dataset_of = {row: name for name, rows in comparison.datasets.items() for row in rows}
    expected = next(iter(comparison.volumes.values()))
    return [
        [dataset_of.get(case, OVERALL), method, subject, entry.id, entry.name]
        + [number_text(float(value)) for value in values[case, column]]
        + [number_text(float(volumes[case, column])) for volumes in (comparison.volumes[method], expected)]
        for method, values in comparison.scores.items()
        for case, subject in enumerate(comparison.subjects)
        for column, entry in enumerate(comparison.structures)
    ]


def _as_text(test: PairedTest) -> list:
    return [number_text(value) if isinstance(value, float) else value for value in test]


def _about(comparison: Comparison) -> list[str]:
    """What was compared, in Markdown."""
    names = [f"{entry.name} ({entry.id})" for entry in comparison.structures]
    ids = {entry.id for entry in comparison.structures}
    sizes = [f"{name} ({len(rows)})" for name, rows in sorted(comparison.datasets.items())]
    return [
        f"# Comparison of {', '.join(comparison.scores)}\n",
        made_by(f"{__version__} on {datetime.date.today().isoformat()}."),
        *(f"- {name}: `{source}`" for name, source in comparison.sources.items()),
        f"- {len(comparison.subjects)} scans" + (f" in data sets: {', '.join(sizes)}" if sizes else ""),
        f"- {len(names)} structures: {', '.join(names)}",
        *(
            f"- {name} {text}: {', '.join(map(str, sorted(labels)))}"
            for name, found in comparison.found.items()
            for text, labels in (("never has", ids - found), ("also has, not compared", found - ids))
            if labels
        ),
        f"\n{ABSENT_RULE} Cells: mean ± standard deviation over the scans.\n",
    ]


def _group(comparison: Comparison, group: str, scores: Mapping[str, torch.Tensor], tests: Sequence[list]) -> str:
    """Scores and tests of a data set, or of all scans, in Markdown."""
    rows = []
    for method, values in scores.items():
        *_, overall = summary_rows(values, comparison.structures)
        means = mean_over_scans(values).double().numpy()
        rows.append([method, overall[2], *map(spread, means.T), *overall[3:5]])
    parts = [
        f"## {group}: {ALL}\n",
        table(["method", "scans", *TITLES.values(), "absent", "missing distances"], rows),
        f"## {group}: tests of '{ALL}'\n",
        table(TEST_COLUMNS, [[TITLES[test[0]], *test[3:]] for test in tests if test[2] == ALL]),
    ]
    for column, title in enumerate(TITLES.values()):
        cells = [
            [_counted(values[:, row, column].double().numpy()) for values in scores.values()]
            for row, _ in enumerate(comparison.structures)
        ]
        rows = [[f"{entry.id} {entry.name}", *row] for entry, row in zip(comparison.structures, cells, strict=True)]
        parts += [f"## {group}: {title} of each structure (scans with a value)\n", table(["structure", *scores], rows)]
    return "\n".join(parts)


def _counted(values: np.ndarray) -> str:
    return f"{spread(values)} ({np.count_nonzero(~np.isnan(values))})"


def draw_boxes(path: Path, comparison: Comparison) -> None:
    """Draw one panel per metric with a box per structure and method, and the mean over structures last, as PNG.

    Boxes: quartiles and median; whiskers: the last value within 1.5 interquartile ranges; dots: values beyond.
    """
    names = [*(entry.name for entry in comparison.structures), ALL]
    width = max(9, 4 + 0.15 * len(names) * (1 + len(comparison.scores)))
    figure = Figure(figsize=(width, 16), layout="constrained")
    panels = figure.subplots(len(SCORES), 1, sharex=True)
    step = 0.8 / len(comparison.scores)
    for column, (panel, title) in enumerate(zip(panels, TITLES.values(), strict=True)):
        for place, (method, values) in enumerate(comparison.scores.items()):
            per_structure = values[..., column].double().T
            data = [row[~row.isnan()].numpy() for row in (*per_structure, mean_over_scans(values)[:, column])]
            color = f"C{place}"
            boxes = panel.boxplot(
                data,
                positions=np.arange(len(names)) + (place + 0.5) * step - 0.4,
                widths=0.85 * step,
                patch_artist=True,
                manage_ticks=False,
                boxprops={"facecolor": color, "alpha": 0.6},
                medianprops={"color": "black"},
                flierprops={"marker": ".", "markersize": 4, "markeredgecolor": color},
            )
            boxes["boxes"][0].set_label(method)
        panel.set_ylabel(title)
        panel.grid(axis="y", alpha=0.4)
        panel.axvline(len(names) - 1.5, color="gray", linewidth=1)
    panels[0].legend(loc="lower left", ncols=len(comparison.scores))
    panels[0].set_title(f"{len(comparison.subjects)} scans. {ABSENT_RULE}", fontsize=9, wrap=True)
    panels[-1].set_xlim(-0.6, len(names) - 0.4)
    panels[-1].set_xticks(range(len(names)), names, rotation=90)
    figure.savefig(path, dpi=100, format="png")


def relative_differences(volumes: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and difference of two measurements of a volume (Bland and Altman, The Lancet 327:307-310, 1986).

    Means are in mm3, differences (method minus reference) in percent of the mean, -200..200; where both are 0, none.
    """
    means = (volumes + reference) / 2
    there = means > 0
    return means[there], 100 * (volumes - reference)[there] / means[there]


def draw_bland_altman(path: Path, comparison: Comparison) -> None:
    """Draw the difference of the volumes from the reference against their mean, one panel per method, as PNG.

    A point is a structure of a scan; lines show the mean difference and 1.96 standard deviations about it.
    """
    (_, reference), *methods = comparison.volumes.items()
    figure = Figure(figsize=(3 + 6 * len(methods), 6.5), layout="constrained")
    panels = figure.subplots(1, len(methods), sharex=True, sharey=True, squeeze=False)[0]
    for panel, (method, volumes) in zip(panels, methods, strict=True):
        for column, entry in enumerate(comparison.structures):
            means, differences = relative_differences(volumes[:, column], reference[:, column])
            color = np.array(entry.color[:3]) / 255
            panel.scatter(means, differences, s=14, color=color, edgecolors="gray", linewidths=0.3, label=entry.name)
        _, differences = relative_differences(volumes, reference)
        title = method
        if len(differences) > 1:
            bias, spread = differences.mean(), 1.96 * differences.std(ddof=1)
            for level, style in ((bias, "-"), (bias - spread, "--"), (bias + spread, "--")):
                panel.axhline(level, color="black", linestyle=style, linewidth=1)
            title += f": {bias:+.1f} %, limits {bias - spread:+.1f} to {bias + spread:+.1f} %"
        panel.set_title(title)
        panel.set_xscale("log")
        panel.set_xlabel("mean of method and reference (mm³)")
        panel.grid(alpha=0.4)
    panels[0].set_ylabel("method - reference (% of the mean)")
    figure.suptitle("Volumes: a point is a structure of a scan; lines: mean difference and 1.96 standard deviations")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize=7)
    figure.savefig(path, dpi=100, format="png")
