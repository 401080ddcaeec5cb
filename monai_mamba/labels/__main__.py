"""Write names and colors of a label table for FreeSurfer, 3D Slicer and ITK-SNAP.

``python -m monai_mamba.labels subcortical --output_dir colors``
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from monai_mamba.errors import show_errors_briefly, writing
from monai_mamba.files import user_path, write_text
from monai_mamba.labels.color_tables import COLOR_TABLES
from monai_mamba.labels.tables import LabelTable, label_tables


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the files; `arguments` are those of the command line if None.

    Raises:
        InputError: there is no such label table.
        OutputError: a file cannot be written.
    """
    parser = argparse.ArgumentParser(prog="python -m monai_mamba.labels", description=__doc__.split("\n")[0])
    parser.add_argument("table", help=f"{', '.join(label_tables())}, or the path of a TSV file")
    parser.add_argument("--output_dir", default=".", help="folder for the files (default: this one)")
    options = parser.parse_args(arguments)
    table = LabelTable.load(options.table, auxiliary=True)
    for ending, text in COLOR_TABLES.items():
        path = user_path(options.output_dir) / (Path(options.table).stem + ending)
        with writing(f"{path}:"):
            write_text(path, text(table))
        print(path)


if __name__ == "__main__":
    show_errors_briefly()
    main()
