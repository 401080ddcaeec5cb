"""Tables of the scan benchmark."""

from __future__ import annotations

from reports import dates, machine_line, number, table

from .results import Row, groups

MACHINE = ("device", "cpu", "gpu", "threads", "torch", "pass")
ABOUT = """# Selective scan

Written by `tools/benchmark.py scan`; [docs/benchmarks.md](../benchmarks.md) explains problems and methods. A cell holds
the wall time of a call in ms (on one thread of a CPU the processor time) and, in brackets, the memory that the call
adds, in MiB. With *, one direction of one volume was measured and multiplied. `scan.jsonl` has every figure, among them
speed relative to each baseline, and shares of the machine's rates.
"""


def markdown(rows: list[Row]) -> str:
    """Document of all rows, one table per machine, number of threads and pass."""
    parts = [ABOUT]
    for same in groups(rows, *MACHINE).values():
        exp2, fma = (max(row[name] for row in same) / 1e9 for name in ("exp2_per_second", "fma_per_second"))
        parts.append(
            f"\n## {same[0]['pass']}, {machine_line(same[0])}\n\n{dates(same)}; medians of "
            f"{min(row['repeats'] for row in same)} rounds or more. This machine computes {exp2:.3g} G exp2/s and "
            f"{fma:.4g} G multiply-adds/s ({same[0]['fma_from']}).\n\n"
        )
        problems = list(dict.fromkeys(row["problem"] for row in same))
        lines = []
        for (method, layout), cells in groups(same, "method", "layout").items():
            found = {row["problem"]: _cell(row) for row in cells}
            name = method if layout == "bare" else f"{method}, {layout}"
            lines.append([name, *(found.get(problem, "-") for problem in problems)])
        parts.append(table(("method", *problems), lines))
    return "".join(parts)


def _cell(row: Row) -> str:
    memory = f" ({number(row['peak_extra_MiB'])})" if row.get("peak_extra_MiB") is not None else ""
    return number(row["seconds"], 1e-3) + ("*" if row["scaled_from"] else "") + memory
