"""Files are complete or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_mamba.files import write_atomically, write_text


def test_an_old_file_stays_whole_until_the_new_one_is(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("old")

    def fail(file: Path) -> None:
        file.write_text("ne")
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        write_atomically(str(path), fail)
    assert path.read_text() == "old"
    write_atomically(str(path), lambda file: file.write_text("new"))
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_made(tmp_path):
    write_atomically(tmp_path / "a" / "b.txt", lambda file: file.write_text("x"))
    assert (tmp_path / "a" / "b.txt").read_text() == "x"


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    write_text("~/run/a.txt", "x")
    assert (tmp_path / "home" / "run" / "a.txt").read_text() == "x"
    assert not (tmp_path / "~").exists()


def test_a_name_that_is_not_utf8_keeps_its_bytes(tmp_path):
    write_text(tmp_path / "scores.tsv", b"M\xfcller".decode(errors="surrogateescape"))
    assert (tmp_path / "scores.tsv").read_bytes() == b"M\xfcller"
