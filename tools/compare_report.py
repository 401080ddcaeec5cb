"""Tables and plots of `compare.py`."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from report_files import score_lines, write_report_files

from monai_mamba import __version__
from monai_mamba.files import MISSING
from monai_mamba.labels import LabelEntry
from monai_mamba.metrics.paired_tests import TEST_NOTES, PairedTest, paired_tests
from monai_mamba.metrics.score_tables import (
    ALL,
    COLUMN_NOTES,
    SUMMARY_COLUMNS,
    number_text,
    summary_rows,
    table_text,
)
from monai_mamba.metrics.structure_scores import ABSENT_RULE, SCORES, mean_over_scans

OVERALL = "overall"
TITLES = {"dsc": "DSC", "vs": "VS", "assd_mm": "ASSD (mm)", "hd95_mm": "HD95 (mm)"}
SCORE_COLUMNS = ("dataset", "method", "subject", "id", "name", *SCORES, "volume_mm3", "reference_mm3")
NOTES = {
    "dataset": f"Data set; '{OVERALL}' are all scans together.",
    "method": "Name of the set of label maps.",
    "volume_mm3, reference_mm3": "Volume by the method and in the reference, voxels times voxel volume.",
    **COLUMN_NOTES,
    **{f"{column} (tests)": note for column, note in TEST_NOTES.items()},
}


@dataclass(frozen=True)
class Comparison:
    """What was compared, and the result.

    Attributes:
        sources: where each set lies, the reference first.
        subjects: names of the N scans.
        structures: the C structures.
        datasets: positions of the scans of each data set; empty where no data sets are told apart.
        scores: `(N, C, 4)` of each method, columns as in `SCORES`, NaN where missing.
        volumes: `(N, C)` in mm3 of each set, the reference first.
        found: label ids that occur in each set.
    """

    sources: Mapping[str, str]
    subjects: Sequence[str]
    structures: Sequence[LabelEntry]
    datasets: Mapping[str, Sequence[int]]
    scores: Mapping[str, torch.Tensor]
    volumes: Mapping[str, np.ndarray]
    found: Mapping[str, set[int]]

    def groups(self) -> list[tuple[str, dict[str, torch.Tensor]]]:
        """Name and scores of each data set, and of all scans together."""
        parts = [
            (name, {method: values[list(rows)] for method, values in self.scores.items()})
            for name, rows in sorted(self.datasets.items())
        ]
        return [*parts, (OVERALL, dict(self.scores))]


def write_report(folder: Path, comparison: Comparison, command: str) -> None:
    """Write `scores.csv`, `summary.csv`, `tests.csv`, `columns.json` (their columns), `report.md`, `boxplots.png` and
    `bland_altman.png`; each appears only complete.

    Args:
        folder: an existing folder.
        comparison: what to show.
        command: makes the report again; it is quoted there.

    Raises:
        OutputError: the folder cannot be written to.
    """
    groups = comparison.groups()
    summaries = {
        (group, method): summary_rows(values, comparison.structures)
        for group, scores in groups
        for method, values in scores.items()
    }
    tests = {group: paired_tests(scores, comparison.structures) for group, scores in groups}
    summary = [[*key, *row] for key, rows in summaries.items() for row in rows]
    test_rows = [[group, *_as_text(test)] for group, family in tests.items() for test in family]
    files = {
        "boxplots.png": lambda file: draw_boxes(file, comparison),
        "bland_altman.png": lambda file: draw_bland_altman(file, comparison),
        "columns.json": json.dumps(NOTES, indent=2) + "\n",
        "scores.csv": table_text(SCORE_COLUMNS, _score_rows(comparison), ","),
        "summary.csv": table_text(["dataset", "method", *SUMMARY_COLUMNS], summary, ","),
        "tests.csv": table_text(["dataset", *PairedTest._fields], test_rows, ","),
        "report.md": _markdown(comparison, summaries, tests, command),
    }
    write_report_files(folder, files)


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


def _markdown(
    comparison: Comparison,
    summaries: Mapping[tuple[str, str], list[list]],
    tests: Mapping[str, list[PairedTest]],
    command: str,
) -> str:
    ids = {entry.id for entry in comparison.structures}
    lines = [f"# Comparison of {', '.join(comparison.scores)}", ""]
    today = datetime.date.today().isoformat()
    lines += [f"Made on {today} with monai-mamba {__version__} by", "", f"    {command}", ""]
    lines += [f"- {name}: `{source}`" for name, source in comparison.sources.items()]
    sizes = [f"{name} ({len(rows)})" for name, rows in sorted(comparison.datasets.items())]
    lines.append(f"- {len(comparison.subjects)} scans" + (f" in data sets: {', '.join(sizes)}" if sizes else ""))
    lines.append(
        f"- {len(ids)} structures: {', '.join(f'{entry.name} ({entry.id})' for entry in comparison.structures)}"
    )
    for name, found in comparison.found.items():
        for text, labels in (("never has", ids - found), ("also has, not compared", found - ids)):
            if labels:
                lines.append(f"- {name} {text}: {', '.join(map(str, sorted(labels)))}")
    methods = list(comparison.scores)
    for group in tests:
        lines += ["", f"## {group}: {ALL}", "", "Mean ± standard deviation over the scans."]
        columns = ["method", "scans", *TITLES.values(), "absent", "missing distances"]
        rows = []
        for method in methods:
            row = dict(zip(SUMMARY_COLUMNS, summaries[group, method][-1], strict=True))
            rows.append([method, row["n"], *(_cell(row, key) for key in SCORES), row["n_absent"], row["n_missing"]])
        lines += score_lines(columns, rows)
        lines += ["", f"## {group}: tests of '{ALL}'", ""]
        lines.append("See the notes at the end.")
        columns = ["metric", "a", "b", "n", "unpaired", "mean a - b", "median a - b", "p", "p (Holm)", "effect size"]
        shown = [_as_text(test) for test in tests[group] if test.name == ALL]
        lines += score_lines(columns, [[TITLES[row[0]], *row[3:]] for row in shown])
        for key, title in TITLES.items():
            lines += ["", f"## {group}: {title} of each structure", ""]
            lines.append("Mean ± standard deviation (scans with a value). Tests of the structures are in tests.csv.")
            rows = []
            for index, entry in enumerate(comparison.structures):
                cells = []
                for method in methods:
                    row = dict(zip(SUMMARY_COLUMNS, summaries[group, method][index], strict=True))
                    scans = row["n"] - (row["n_missing"] if key.endswith("_mm") else 0)
                    cells.append(f"{_cell(row, key)} ({scans})")
                rows.append([entry.id, entry.name, *cells])
            lines += score_lines(["id", "name", *methods], rows)
    lines += ["", "## Notes on the tests", "", *(f"- {column}: {note}" for column, note in TEST_NOTES.items())]
    lines += ["", "## Plots"]
    lines += ["", "![Scores of each structure](boxplots.png)", "", "![Volumes](bland_altman.png)", ""]
    return "\n".join(lines)


def _cell(row: Mapping[str, str], key: str) -> str:
    mean, deviation = (
        value if value == MISSING else f"{float(value):.3f}" for value in (row[f"{key}_mean"], row[f"{key}_sd"])
    )
    return mean if mean == MISSING else f"{mean} ± {deviation}"


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

    Args:
        volumes: of the method, any shape, mm3.
        reference: of the reference, the same shape.

    Returns:
        Means in mm3 and differences (method minus reference) in percent of the mean, -200..200, both `(M,)`; a
        structure that both measure as 0 is left out.
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
