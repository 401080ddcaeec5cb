"""Files are complete or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from monai_mamba.errors import InputError
from monai_mamba.files import files_below, read_tsv, user_path, write_atomically, write_text


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


def test_a_table_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.tsv").write_text("id\tfactor\n4\t0.9\n")
    assert read_tsv("~/a.tsv") == [{"id": "4", "factor": "0.9"}]


def test_a_name_that_is_not_utf8_keeps_its_bytes(tmp_path):
    write_text(tmp_path / "scores.tsv", b"M\xfcller".decode(errors="surrogateescape"))
    assert (tmp_path / "scores.tsv").read_bytes() == b"M\xfcller"


def test_a_tilde_before_the_name_of_nobody_is_part_of_a_name():
    assert user_path("~nobody of this name/scan.nii") == Path("~nobody of this name/scan.nii")


def refused(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied", "locked")


def test_paths_that_cannot_be_looked_at_are_refused(tmp_path, monkeypatch):
    """Such as a list of files that the shell has made one word, or the folder of somebody else."""
    with pytest.raises(InputError, match=r"a\.nii b\.nii a\.nii .*: File name too long\. Check the path"):
        user_path(" ".join(["a.nii", "b.nii"] * 60))
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="loop: Too many levels of symbolic links"):
        user_path(tmp_path / "loop")
    monkeypatch.setattr(Path, "stat", refused)
    with pytest.raises(InputError, match="Permission denied"):
        user_path(tmp_path)


def test_folders_that_cannot_be_read_are_named(tmp_path, monkeypatch, caplog):
    (tmp_path / "open").mkdir()
    (tmp_path / "locked").mkdir()
    (tmp_path / "open" / "a").touch()
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: refused() if str(path).endswith("locked") else scandir(path))
    assert files_below(tmp_path) == [tmp_path / "open" / "a"]
    assert caplog.messages == ["locked: the folder cannot be read (Permission denied); what is in it is left out."]


def test_of_several_links_to_a_folder_always_the_first_by_name_is_followed(tmp_path):
    """Its name goes into those of results: it must not be another one on another machine."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "scan.nii").touch()
    (tmp_path / "study").mkdir()
    for name in "cadfbegh":
        (tmp_path / "study" / name).symlink_to(tmp_path / "elsewhere")
    assert files_below(tmp_path / "study") == [tmp_path / "study" / "a" / "scan.nii"]
