"""Tables and plot of the scan benchmark."""

from __future__ import annotations

from pathlib import Path

from .report import Row, dates, groups, machine_line, number, percent, table

MACHINE = ("device", "cpu", "gpu", "threads", "torch")
HEADERS = (
    "problem, method",
    "wall ms",
    "CPU ms",
    "G updates/s",
    "x mamba-ssm pattern",
    "x naive",
    "x mamba.py pattern",
    "x parallel scan",
    "x selective_scan_cuda",
    "of exp2 rate",
    "of FMA floor",
    "extra MiB",
)


def markdown(rows: list[Row]) -> str:
    """Document of all rows, one section per machine, number of threads and pass."""
    parts = ["# Selective scan\n\nWritten by `tools/benchmark.py scan`; see docs/benchmarks.md.\n"]
    for same in groups(rows, *MACHINE, "pass").values():
        first = same[0]
        parts.append(f"\n## {first['pass']}, {machine_line(first)}\n\n{_rates(same)}\n\n")
        parts.append(table(HEADERS, map(_cells, same)))
        for title, extra in (("Cross scan", _cross(same)), ("Short rows", _segments(same))):
            if extra:
                parts.append(f"\n{title}:\n\n{extra}")
    return "".join(parts)


def _rates(rows: list[Row]) -> str:
    exp2, fma = (max(row[name] for row in rows) / 1e9 for name in ("exp2_per_second", "fma_per_second"))
    return (
        f"{dates(rows)}; medians of {min(row['repeats'] for row in rows)} rounds or more. This machine computes "
        f"{exp2:.3g} G exp2/s (`torch.exp2`) and {fma:.4g} G multiply-adds/s ({rows[0]['fma_from']})."
    )


def _cells(row: Row) -> list[str]:
    name = f"{row['problem']}, {row['method']}" + ("" if row["layout"] == "bare" else f", {row['layout']}")
    scaled = f" (scaled from {row['scaled_from']})" if row["scaled_from"] else ""
    return [
        name + scaled,
        number(row["seconds"], 1e-3),
        number(row.get("cpu_seconds"), 1e-3),
        number(row["updates_per_second"], 1e9),
        number(row.get("speedup_over_mamba_ssm_pattern")),
        number(row.get("speedup_over_naive")),
        number(row.get("speedup_over_mamba_py_pattern")),
        number(row.get("speedup_over_parallel_scan")),
        number(row.get("speedup_over_selective_scan_cuda")),
        percent(row["share_of_exp2_rate"]),
        percent(row.get("share_of_fma_floor")),
        number(row.get("peak_extra_MiB")),
    ]


def _cross(rows: list[Row]) -> str:
    """The fused cross scan, and indexing before and after, against the bare scan."""
    lines = []
    for (problem, method), same in groups(rows, "problem", "method").items():
        times = {row["layout"]: row.get("times_bare") for row in same}
        if "fused" in times:
            lines.append([f"{problem}, {method}", number(times["fused"]), number(times.get("gathered"))])
    return table(("problem, method", "fused / bare", "gathered / bare"), lines) if lines else ""


def _segments(rows: list[Row]) -> str:
    """The PyTorch path against itself without segments, and without chunks of tokens."""
    lines = []
    for (problem,), same in groups(rows, "problem").items():
        seconds = {row["method"]: row["seconds"] for row in same if row["layout"] == "bare"}
        if "torch, no segments" in seconds:
            times = (seconds.get(f"torch, {kind}") for kind in ("no segments", "token by token"))
            lines.append([str(problem), *(number(time and time / seconds["torch"]) for time in times)])
    return table(("problem", "no segments / torch", "token by token / torch"), lines) if lines else ""


def plot(rows: list[Row], file: Path) -> None:
    """Bars of the speed relative to the naive scan, one panel per machine, number of threads and pass."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bare = [row for row in rows if row["layout"] == "bare" and "speedup_over_naive" in row]
    panels = list(groups(bare, *MACHINE, "pass").values())
    if not panels:
        return
    methods = list(dict.fromkeys(row["method"] for row in bare))
    most = max(len({row["problem"] for row in same}) for same in panels)
    width = 0.8 / len(methods)
    figure = Figure(figsize=(max(8, 2 + 1.3 * most), 3.4 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, same in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        problems = list(dict.fromkeys(row["problem"] for row in same))
        for place, method in enumerate(methods):
            mine = [row for row in same if row["method"] == method]
            lefts = [problems.index(row["problem"]) + (place - (len(methods) - 1) / 2) * width for row in mine]
            if mine:
                axes.bar(lefts, [row["speedup_over_naive"] for row in mine], width, label=method, color=f"C{place}")
        axes.set_title(f"{same[0]['pass']}, {machine_line(same[0])}", fontsize="small")
        axes.set_ylabel("speed, naive scan = 1")
        axes.set_yscale("log")
        axes.set_xticks(range(len(problems)), problems)
        axes.axhline(1, color="gray", linewidth=0.8)
        axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(file, dpi=110)
