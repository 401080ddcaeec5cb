"""Names and colors of labels in the files that viewers read."""

from __future__ import annotations

from collections.abc import Callable

from monai_mamba.labels.tables import LabelTable


def freesurfer_lut(table: LabelTable) -> str:
    """Color table of FreeSurfer (`FreeSurferColorLUT.txt`), which freeview takes too.

    A line a label: id, name, red, green, blue (0..255), and 255 minus alpha: there, 0 is opaque.
    """
    lines = ["#No. Label Name: R G B A"]
    for entry in table.structures:
        red, green, blue, alpha = entry.color
        lines.append(f"{entry.id} {_one_word(entry.name)} {red} {green} {blue} {255 - alpha}")
    return "\n".join(lines) + "\n"


def slicer_ctbl(table: LabelTable) -> str:
    """Color table of 3D Slicer (`.ctbl`). A line a label: id, name, red, green, blue, alpha, each 0..255."""
    lines = ["# Color table file", f"# {len(table.structures)} values", "0 Background 0 0 0 0"]
    lines += [f"{entry.id} {_one_word(entry.name)} {' '.join(map(str, entry.color))}" for entry in table.structures]
    return "\n".join(lines) + "\n"


def itksnap_label(table: LabelTable) -> str:
    """Label descriptions of ITK-SNAP (`.label`, `.txt`).

    A line a label: id, red, green, blue (0..255), alpha (0..1), visible, visible as a mesh, and the name in quotes.
    """
    lines = ["# ITK-SnAP Label Description File", '0 0 0 0 0 0 0 "Clear Label"']
    for entry in table.structures:
        red, green, blue, alpha = entry.color
        lines.append(f'{entry.id} {red} {green} {blue} {alpha / 255:.3g} 1 1 "{entry.name}"')
    return "\n".join(lines) + "\n"


def _one_word(name: str) -> str:
    return name.replace(" ", "_")  # blanks divide the columns


# By the ending of the file.
COLOR_TABLES: dict[str, Callable[[LabelTable], str]] = {
    "_LUT.txt": freesurfer_lut,
    ".ctbl": slicer_ctbl,
    ".label": itksnap_label,
}
