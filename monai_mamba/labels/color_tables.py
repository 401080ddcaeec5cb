"""Names and colors of labels in the files that viewers read."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from monai_mamba.labels.tables import LabelEntry, LabelTable


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


def mgh_color_table(labels: Mapping[int, LabelEntry]) -> bytes:
    """Color table as it stands behind the voxels of an MGH file and in `.annot` files: FreeSurfer's tag 1, version 2.

    Everything is big-endian: tag, version, largest id plus one, name of a file (none), number of labels; of each, id,
    name, red, green, blue (0..255), and 255 minus alpha.
    """
    content = struct.pack(">4isi", 1, -2, max(labels) + 1, 1, b"", len(labels))
    for label, entry in labels.items():
        name, (red, green, blue, alpha) = f"{entry.name}\0".encode(), entry.color
        content += struct.pack(f">2i{len(name)}s4i", label, len(name), name, red, green, blue, 255 - alpha)
    return content


def _one_word(name: str) -> str:
    return name.replace(" ", "_")  # blanks divide the columns


# By the ending of the file.
COLOR_TABLES: dict[str, Callable[[LabelTable], str]] = {
    "_LUT.txt": freesurfer_lut,
    ".ctbl": slicer_ctbl,
    ".label": itksnap_label,
}
