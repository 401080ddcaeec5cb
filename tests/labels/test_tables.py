"""The label tables say what the published network's channels mean."""

from __future__ import annotations

import re

import pytest

from monai_mamba.errors import InputError
from monai_mamba.labels import LABEL_FOLDER, LabelTable, label_tables

PUBLISHED_IDS = [0, 4, 5, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 24, 26, 28, 31]
PUBLISHED_IDS += [43, 44, 46, 47, 49, 50, 51, 52, 53, 54, 58, 60, 63, 77]


def test_the_published_order_comes_first_and_auxiliary_classes_last():
    table = LabelTable.load("subcortical")
    assert list(table.ids) == [*PUBLISHED_IDS, 2, 3, 41, 42]
    assert [entry.id for entry in table if not entry.written] == [2, 3, 41, 42]
    assert [entry.id for entry in table.structures] == PUBLISHED_IDS[1:]
    assert table.index_of_id[53] == 26
    whole = LabelTable.load("subcortical", auxiliary=True)
    assert [entry.id for entry in whole.structures] == [*PUBLISHED_IDS[1:], 2, 3, 41, 42]
    assert (whole.ids, whole.names, whole.mirror) == (table.ids, table.names, table.mirror)
    assert LabelTable.load(table, auxiliary=True) == whole
    assert LabelTable.load(table) is table


def test_left_and_right_have_the_same_names():
    names = LabelTable.load("subcortical").names
    left = {name.removeprefix("Left-") for name in names if name.startswith("Left-")}
    assert len(left) == 15
    assert left == {name.removeprefix("Right-") for name in names if name.startswith("Right-")}


@pytest.mark.parametrize("name", label_tables())
def test_every_table_of_the_package_loads_by_name_and_path(name):
    table = LabelTable.load(name)
    assert table == LabelTable.load(LABEL_FOLDER / f"{name}.tsv")
    assert all(0 <= value <= 255 for entry in table for value in entry.color)


def test_a_table_may_lie_in_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", str(LABEL_FOLDER))
    assert LabelTable.load("~/subcortical.tsv") == LabelTable.load("subcortical")


def test_a_network_without_auxiliary_classes_uses_the_written_rows():
    table = LabelTable.load("subcortical")
    assert table.for_channels(36) is table
    assert list(table.for_channels(32).ids) == PUBLISHED_IDS
    with pytest.raises(InputError, match="33 output channels"):
        table.for_channels(33)


def test_ids_of_the_same_structures_in_another_table():
    sided, plain = (LabelTable.load(name) for name in ("hippocampus_fs60", "hippocampus_fs60_plain"))
    assert sided.ids_in(plain) == {label: label % 1000 for label in sided.ids}
    assert [entry.color for entry in plain] == [entry.color for entry in sided][: len(plain)]
    assert sided.ids_in(sided) == {label: label for label in sided.ids}
    with pytest.raises(InputError, match=r"no id for Left-parasubiculum.*Hippocampus-anterior"):
        sided.ids_in(LabelTable.load("hippocampus_crop"))


def test_bad_tables_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no label table 'cortical'.*subcortical"):
        LabelTable.load("cortical")
    lines = (LABEL_FOLDER / "subcortical.tsv").read_text().splitlines()
    path = tmp_path / "table.tsv"
    for bad, message in [
        (lines[1:], "columns"),
        ([lines[0], lines[2]], "start with the background"),
        ([*lines[:3], lines[2].replace("1\t4", "2\t4", 1)], "occurs twice"),
        ([*lines[:2], "1"], "line 3: .*whole numbers"),
        ([*lines[:2], lines[2].replace("\t4\t", "\t-4\t", 1)], "line 3: -4 is not from 0 to 1048576"),
        ([*lines[:2], re.sub(r"\t\d+\t(\d)$", r"\t256\t\1", lines[2])], "line 3: 256 is not from 0 to 255"),
    ]:
        path.write_text("\n".join(bad), encoding="utf-8-sig")  # as Excel does
        with pytest.raises(InputError, match=message):
            LabelTable.load(path)


def test_a_table_in_another_encoding_is_refused_and_one_of_excel_read(tmp_path):
    text = (LABEL_FOLDER / "subcortical.tsv").read_text()
    (tmp_path / "a.tsv").write_text(text, encoding="utf-8-sig", newline="\r\n")
    assert LabelTable.load(tmp_path / "a.tsv") == LabelTable.load("subcortical")
    (tmp_path / "a.tsv").write_text(text, encoding="utf-16")
    with pytest.raises(InputError, match=r"a\.tsv: no text in UTF-8 .* Save it as such"):
        LabelTable.load(tmp_path / "a.tsv")
