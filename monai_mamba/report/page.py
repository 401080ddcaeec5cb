"""The page: which results go where, and how their figures are written."""

from __future__ import annotations

import base64
import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from monai_mamba.errors import InputError, writing
from monai_mamba.files import user_path, write_atomically
from monai_mamba.labels import LabelTable
from monai_mamba.report.images import EmbeddedScan, embed_picture, embed_scan
from monai_mamba.report.results import ScanResult, find_results, find_sources, other_settings
from monai_mamba.report.statistics import (
    LOWEST_DSC,
    MEAN_DSC,
    MIN_SCANS,
    OUTLIER_Z,
    Measure,
    measures_of,
    structures_of,
    whole_of,
)
from monai_mamba.version import __version__

ASSETS = Path(__file__).parent / "assets"
ENVIRONMENT = Environment(
    loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
DOCTYPE = b"<!doctype html>"
MAX_VIEWERS = 8  # scans with a viewer; each makes the page 3 to 8 MB larger
WIDTHS = ((1, 1200), (100, 512), (math.inf, 256))  # of pictures in pixels, for up to so many scans
TITLES = {"subcortical": "Subcortical structures", "hippocampus": "Hippocampus", "tumor": "Brain tumor"}
GRADES = ("fail", "look", "pass", "")  # the worst first; the last one where a scan has none


@dataclass(frozen=True)
class Value:
    """A figure of a table: its text and z-score, and whether and why it is marked (`high`, `low` or nothing)."""

    text: str
    z: str = ""
    mark: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Group:
    """Scans with the same structures and their figures."""

    results: list[ScanResult]
    measures: list[Measure]

    def outliers(self, scan: int) -> list[Measure]:
        """Measures in which a scan is an outlier, the farthest first."""
        found = [measure for measure in self.measures if measure.is_outlier(scan)]
        return sorted(found, key=lambda measure: -abs(measure.z(scan) or 0.0))

    def urgency(self, scan: int) -> tuple[int, int, str]:
        """What sorts scans: the worst grade first, then the most outliers."""
        return GRADES.index(_grade(self.results[scan])), -len(self.outliers(scan)), self.results[scan].name


def write_report(
    folder: str | Path, path: str | Path, source: Sequence[str] | None = None, table: str | None = None
) -> list[str]:
    """Write the results of a folder as one HTML file that needs no other.

    With more than one scan, the figures of all are compared. The viewer holds at most `MAX_VIEWERS` scans, the worst by
    grade and outliers.

    Args:
        folder: folder with the results of a bundle.
        path: the HTML file; it appears when it is complete.
        source: the scans, as given to the run as `--input`; without them there is no viewer.
        table: label table of the results (name or path), where it is none of the package.

    Returns:
        A sentence for each result that could not be used or shown in full.

    Raises:
        InputError: nothing in the folder can be used, `source` does not hold anything, or `path` is no report.
        OutputError: the file cannot be written.
    """
    path = user_path(path)
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(DOCTYPE)).lower() != DOCTYPE:
                raise InputError(f"--output is {path}, which is not a report; choose another name.")
    results, problems = find_results(folder, table)
    by_structures: dict[tuple, list[ScanResult]] = defaultdict(list)
    for result in results:
        by_structures[result.structures].append(result)
    groups = [Group(members, measures_of(members)) for members in by_structures.values()]
    embedded = _embed(groups, folder, source, problems) if source else []
    text = _render(user_path(folder).resolve().name, groups, embedded, problems)
    with writing(f"{path}: the report", "Free some space, or choose another file with --output."):
        # Names of files may hold bytes that are no text.
        write = partial(Path.write_text, data=text, encoding="utf-8", errors="backslashreplace", newline="\n")
        write_atomically(path, write)
    return problems


def _embed(groups: list[Group], folder: str | Path, source: Sequence[str], problems: list[str]) -> list[EmbeddedScan]:
    """The scans for the viewer, the worst first."""
    scans = [(group.urgency(index), result) for group in groups for index, result in enumerate(group.results)]
    sources = find_sources([result for _, result in scans], folder, source)
    embedded: list[EmbeddedScan] = []
    for _, result in sorted(scans, key=lambda scan: scan[0]):
        if len(embedded) == MAX_VIEWERS:
            break
        if result.output not in sources:
            continue
        try:
            embedded.append(embed_scan(result, sources[result.output]))
        except InputError as error:
            problems.append(str(error))
    return embedded


def _render(name: str, groups: list[Group], embedded: list[EmbeddedScan], problems: list[str]) -> str:
    total = sum(len(group.results) for group in groups)
    licenses = (ASSETS / "niivue.LICENSE.txt").read_text(encoding="utf-8")
    scripts = [f"/*\n{licenses}*/\n" + _asset("niivue.umd.js"), _asset("viewer.js")] if embedded else []
    scripts += [_asset("scans.js")] if total > 1 else []
    style = _asset("page.css")
    policy = [
        "default-src 'none'",
        "img-src data: blob:",
        f"style-src {_hash(style)}",
        "script-src " + (" ".join(map(_hash, scripts)) or "'none'"),
    ]
    viewers = {scan.name: index for index, scan in enumerate(embedded)}
    tables = {group.results[0].structures: group.results[0].table for group in groups}
    kinds = list(tables)
    shown = {result.name: kinds.index(result.structures) for group in groups for result in group.results}
    notes = []
    if embedded and len(embedded) < total:
        which = ", the worst by quality and marked values" if len(embedded) == MAX_VIEWERS else ""
        notes.append(f"It holds {len(embedded)} of {total} scans{which}.")
    notes += [f"{scan.name}: every {scan.step} voxels." for scan in embedded if scan.step > 1]
    return ENVIRONMENT.get_template("page.html.j2").render(
        title=f"Segmentation report: {name}",
        summary=f"{total} scans." if total > 1 else f"{_names(groups[0].results)[0]}.",
        remarks=other_settings([result for group in groups for result in group.results]),
        date=date.today().isoformat(),
        version=__version__,
        policy="; ".join(policy),
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        problems=problems,
        single=total == 1,
        grades=_count_grades(groups),
        minimum=MIN_SCANS,
        outlier=OUTLIER_Z,
        groups=[_group(group, index, viewers, total, problems) for index, group in enumerate(groups)],
        scans=[scan.name for scan in embedded],
        embedded=embedded,
        viewer_notes=notes,
        viewer_data={
            "scans": [{"points": scan.points, "table": shown[scan.name]} for scan in embedded],
            "tables": [_colormap(table) for table in tables.values()],
        },
    )


def _group(group: Group, number: int, viewers: dict[str, int], total: int, problems: list[str]) -> dict:
    first = group.results[0]
    lookup = {(measure.title, measure.kind): measure for measure in group.measures}
    scans = []
    names = _names(group.results)
    width = next(width for scans_at_most, width in WIDTHS if total <= scans_at_most)
    for index in sorted(range(len(group.results)), key=group.urgency):
        result, outliers = group.results[index], group.outliers(index)
        picture = None
        try:
            picture = embed_picture(result.path("picture"), width)
        except InputError as error:
            problems.append(str(error))
        scans.append(
            {
                "name": names[index],
                "anchor": f"scan-{number}-{index}",
                "grade": _grade(result),
                "order": GRADES.index(_grade(result)),
                "reason": result.quality.reason if result.quality else "",
                "viewer": viewers.get(result.name),
                "marks": [_sentence(measure, index) for measure in outliers],
                "picture": picture,
                "expected": [_value(lookup[title, "expected_dsc"], index) for title in (MEAN_DSC, LOWEST_DSC)],
                "rows": _rows(result, index, lookup),
            }
        )
    return {
        "title": TITLES.get(first.task, first.task or "Results"),
        "regions": first.regions,
        "sided": any(len(structure.rows) == 2 for structure in structures_of(first)),
        "expected": any(volume.expected_dsc is not None for result in group.results for volume in result.volumes),
        "reference": any(measure.reference for measure in group.measures),
        "scans": scans,
        "graded": any(result.quality for result in group.results),
        "shares": whole_of(first) if any(measure.kind == "share" for measure in group.measures) else "",
        "usual": [
            _usual(measure, first.table) for measure in group.measures if any(v is not None for v in measure.values)
        ],
    }


def _grade(result: ScanResult) -> str:
    return result.quality.grade if result.quality else ""


def _count_grades(groups: Sequence[Group]) -> dict[str, int]:
    """How many scans have a grade, for each that occurs, the worst first."""
    found = [_grade(result) for group in groups for result in group.results]
    return {grade: found.count(grade) for grade in GRADES if grade and grade in found}


def _names(results: Sequence[ScanResult]) -> list[str]:
    """Names of scans, with their folders only where these tell them apart."""
    short = [Path(result.title).name for result in results]
    return short if len(set(short)) == len(short) else [result.title for result in results]


def _rows(result: ScanResult, index: int, lookup: dict[tuple[str, str], Measure]) -> list[dict]:
    """The table of a scan, a row for each structure or pair."""
    rows = []
    for structure in structures_of(result):
        volumes = [result.volumes[row] for row in structure.rows]
        row = {
            "title": structure.title,
            "color": _color(result.table, volumes[0].ids),
            "ids": [volume.ids[0] if len(volume.ids) == 1 else None for volume in volumes],
            "volumes": [_value(lookup[volume.name, "volume"], index) for volume in volumes],
            "shares": [_value(lookup.get((volume.name, "share")), index) for volume in volumes],
            "expected": [_number(volume.expected_dsc, "expected_dsc") for volume in volumes],
            "asymmetry": None,
        }
        if len(volumes) == 2:
            measure = lookup[structure.title, "asymmetry"]
            row |= {"asymmetry": _value(measure, index), "percent": measure.values[index]}
        rows.append(row)
    return rows


def _usual(measure: Measure, table: LabelTable) -> dict:
    """A row of the table of the cohort."""
    known = [value for value in measure.values if value is not None]
    reference = measure.reference
    texts = {"median": np.median(known), "low": min(known), "high": max(known)}
    return {
        "title": measure.title + (" asymmetry" if measure.kind == "asymmetry" else ""),
        "unit": measure.unit,
        "color": _color(table, measure.ids),
        "count": len(known),
        "range": _range(measure) if reference else "",
        "marked": sum(measure.is_outlier(scan) for scan in range(len(measure.values))),
        "measure": measure,
    } | {key: _number(float(value), measure.kind) for key, value in texts.items()}


def _value(measure: Measure | None, scan: int) -> Value:
    if measure is None:
        return Value(_number(None, ""))
    text, z = _number(measure.values[scan], measure.kind), measure.z(scan)
    score = "" if z is None or math.isinf(z) else _signed(z)
    if not measure.is_outlier(scan):
        return Value(text, score)
    return Value(text, score, "high" if z > 0 else "low", _sentence(measure, scan))


def _sentence(measure: Measure, scan: int) -> str:
    """Such as `Left-Thalamus 3,120 mm³ (usual 6,900 to 8,900)`."""
    what = f"{measure.title} asymmetry" if measure.kind == "asymmetry" else measure.title
    if measure.kind == "volume" and measure.values[scan] == 0:
        return f"{what} missing (usual {_range(measure)} mm³)"
    unit = measure.unit and f" {measure.unit}"
    return f"{what} {_number(measure.values[scan], measure.kind)}{unit} (usual {_range(measure)})"


def _range(measure: Measure) -> str:
    low, high = measure.reference.low, measure.reference.high
    if measure.kind == "expected_dsc":
        low, high = max(low, 0.0), min(high, 1.0)
    return f"{_number(low, measure.kind)} to {_number(high, measure.kind)}"


def _number(value: float | None, kind: str) -> str:
    """A figure without its unit; the sign of an asymmetry is always there."""
    if value is None:
        return "\N{EN DASH}"
    if kind == "volume":
        return f"{value:,.0f}" if value >= 100 or value == 0 else f"{value:.1f}"
    if kind in ("expected_dsc", "share"):
        return f"{value:.3f}"
    return _signed(value)


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _color(table: LabelTable, ids: Sequence[int]) -> tuple[int, ...] | None:
    colors = {entry.id: entry.color for entry in table}
    return colors.get(ids[0]) if len(ids) == 1 else None


def _colormap(table: LabelTable) -> dict[str, list]:
    """Colors and names of the channels in the form of NiiVue."""
    red, green, blue, alpha = (list(part) for part in zip(*(entry.color for entry in table), strict=True))
    names = [f"{entry.name} ({entry.id})" for entry in table]
    return {"R": red, "G": green, "B": blue, "A": alpha, "I": list(range(len(table))), "labels": names}


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What a content security policy allows: this text and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
