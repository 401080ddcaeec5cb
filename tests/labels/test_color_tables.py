"""Color tables in the forms of FreeSurfer, 3D Slicer and ITK-SNAP, read back by the definition of each."""

from __future__ import annotations

import re

import pytest

from monai_mamba.labels import LabelTable, label_tables
from monai_mamba.labels.__main__ import main


def lines(path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("name", label_tables())
def test_each_form_holds_all_names_and_colors(tmp_path, name):
    main([name, "--output_dir", str(tmp_path / "out")])
    expected = {entry.id: (entry.name.replace(" ", "_"), *entry.color) for entry in LabelTable.load(name) if entry.id}
    freesurfer, slicer, itksnap = {}, {}, {}
    for line in lines(tmp_path / "out" / f"{name}_LUT.txt"):
        label, title, *color = line.split()
        freesurfer[int(label)] = (title, *map(int, color[:3]), 255 - int(color[3]))
    background, *rest = lines(tmp_path / "out" / f"{name}.ctbl")
    for line in rest:
        label, title, *color = line.split()
        slicer[int(label)] = (title, *map(int, color))
    clear, *rest = lines(tmp_path / "out" / f"{name}.label")
    for line in rest:
        label, *color, alpha, visible, mesh, title = re.fullmatch(
            r'(\d+) (\d+) (\d+) (\d+) ([\d.]+) ([01]) ([01]) "([^"]+)"', line
        ).groups()
        itksnap[int(label)] = (title.replace(" ", "_"), *map(int, color), round(float(alpha) * 255))
        assert (visible, mesh) == ("1", "1")
    assert freesurfer == slicer == itksnap == expected
    assert background == "0 Background 0 0 0 0"
    assert clear == '0 0 0 0 0 0 0 "Clear Label"'
