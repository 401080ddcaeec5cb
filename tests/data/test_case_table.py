"""The table of all cases."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from monai_mamba.data.case_table import CaseOutcome, check_case_table, read_volumes, write_case_table
from monai_mamba.data.quality import Quality
from monai_mamba.errors import InputError, OutputError
from monai_mamba.labels import LabelTable, brain_measures


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="", errors="surrogateescape") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_each_case_has_its_row_and_its_volumes(tmp_path):
    (tmp_path / "a.tsv").write_text("id\tname\tvoxels\tmm3\n10\tThalamus\t2\t16.0\n12\tPutamen\t1\t8.0\n")
    outcomes = [
        CaseOutcome("a", "done", 1.26, volumes=read_volumes(tmp_path / "a.tsv")),
        CaseOutcome("b", "failed", 0.5, InputError("b: two\nlines\tand a tab")),
        CaseOutcome("c", "skipped", volumes=read_volumes(tmp_path / "absent.tsv"), quality=Quality("look", "odd")),
    ]
    write_case_table(tmp_path / "out" / "cases.tsv", outcomes)
    columns = ["name", "status", "seconds", "quality", "message", "Thalamus", "Putamen"]
    rows = [
        ["a", "done", "1.3", "n/a", "n/a", "16.0", "8.0"],
        ["b", "failed", "0.5", "n/a", "b: two lines and a tab", "n/a", "n/a"],
        ["c", "skipped", "n/a", "look", "odd", "n/a", "n/a"],
    ]
    assert read(tmp_path / "out" / "cases.tsv") == [dict(zip(columns, row, strict=True)) for row in rows]


def test_volumes_of_the_brain_follow_those_of_its_structures(tmp_path):
    table = LabelTable.load("subcortical", auxiliary=True)
    lines = [f"{entry.id}\t{entry.name}\t1\t{entry.id}.0\n" for entry in table.structures]
    (tmp_path / "a.tsv").write_text("id\tname\tvoxels\tmm3\n" + "".join(lines))
    volumes = read_volumes(tmp_path / "a.tsv")
    assert len(volumes) == len(lines) + len(brain_measures())
    assert (volumes["Left-Thalamus"], volumes["CortexVol"]) == ("10.0", f"{3 + 42}.0")
    (tmp_path / "a.tsv").write_text("id\tname\tvoxels\tmm3\n" + "".join(lines[:-1]))
    assert len(read_volumes(tmp_path / "a.tsv")) == len(lines) - 1


def test_any_file_name_comes_back(tmp_path):
    names = ["a b", "tab\there", "two\nlines", 'a "quoted" name', "Zoë", "\udcff not UTF-8"]
    write_case_table(tmp_path / "cases.tsv", [CaseOutcome(name, "done", 1.0) for name in names])
    assert [row["name"] for row in read(tmp_path / "cases.tsv")] == names


def test_a_table_takes_the_place_of_an_earlier_one_only(tmp_path):
    scan, table = tmp_path / "scan.nii", tmp_path / "cases.tsv"
    scan.write_bytes(b"a scan")
    write_case_table(table, [CaseOutcome("a", "done")])
    assert check_case_table(table) == table
    assert check_case_table(tmp_path / "new.tsv") == tmp_path / "new.tsv"
    with pytest.raises(InputError, match=r"scan\.nii, which is not a table of cases"):
        check_case_table(scan)
    with pytest.raises(InputError, match="not a regular file; expected one"):
        check_case_table(tmp_path)


def test_a_table_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="the table of all cases cannot be written"):
        write_case_table(tmp_path / "file" / "cases.tsv", [])
