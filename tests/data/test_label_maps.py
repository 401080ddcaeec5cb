"""Label maps to make training images from are found."""

from __future__ import annotations

import pytest

from monai_mamba.data.label_maps import find_label_maps
from monai_mamba.errors import InputError


def test_maps_are_listed_by_name_without_hidden_files(tmp_path):
    folder = tmp_path / "2024"
    folder.mkdir()
    for name in ("b.NII.GZ", "a.mgz", "._a.mgz", "notes.txt"):
        (folder / name).touch()
    assert find_label_maps(folder) == [str(folder / "a.mgz"), str(folder / "b.NII.GZ")]


def test_a_folder_whose_name_is_a_number_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="2024: there is no such folder"):
        find_label_maps(2024)  # type: ignore[arg-type]
