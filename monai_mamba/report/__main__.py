"""Make a report of a folder of results: ``python -m monai_mamba.report RESULTS_DIR [--input SCANS]``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from monai_mamba.errors import BatchError, show_errors_briefly
from monai_mamba.files import user_path
from monai_mamba.report import write_report


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report; `arguments` are those of the command line if None.

    Raises:
        MonaiMambaError: there is nothing to report, or it cannot be written; `BatchError` if some results could not be
            used, after the report of the others was written.
    """
    parser = argparse.ArgumentParser(prog="python -m monai_mamba.report", description=__doc__.split(":")[0] + ".")
    parser.add_argument(
        "results_dir", type=_name, help="folder that the results were written to (--output_dir of the run)"
    )
    parser.add_argument("--output", type=_name, help="HTML file to write (default: report.html in RESULTS_DIR)")
    parser.add_argument("--input", type=_name, nargs="+", help="the scans (--input of the run): needed for the viewer")
    parser.add_argument("--table", type=_name, help="label table of the results, where it is none of the package")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    path = user_path(options.output or Path(options.results_dir, "report.html"))
    problems = write_report(Path(options.results_dir), path, options.input, options.table)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    if problems:
        count = "1 result" if len(problems) == 1 else f"{len(problems)} results"
        raise BatchError("\n".join([f"{count} could not be used or shown in full:", *problems]))


def _name(text: str) -> str:
    if not text.strip():  # an empty path would be the working folder
        raise argparse.ArgumentTypeError("it is empty")
    return text


if __name__ == "__main__":
    show_errors_briefly()
    main()
