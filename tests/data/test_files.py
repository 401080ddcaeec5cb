"""Files are complete or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_mamba.data.files import write_whole


def test_an_old_file_stays_whole_until_the_new_one_is(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("old")

    def fail(file: Path) -> None:
        file.write_text("ne")
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        write_whole(str(path), fail)
    assert path.read_text() == "old"
    write_whole(str(path), lambda file: file.write_text("new"))
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_made(tmp_path):
    write_whole(tmp_path / "a" / "b.txt", lambda file: file.write_text("x"))
    assert (tmp_path / "a" / "b.txt").read_text() == "x"
