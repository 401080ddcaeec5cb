"""The label schemes of the hippocampus: said at once, and refused where the configuration is another one's."""

from __future__ import annotations

import pytest

from monai_mamba.errors import InputError
from monai_mamba.labels import LabelTable, check_label_scheme


@pytest.mark.parametrize(
    ("scheme", "table", "reason"),
    [
        ("head_tail", "hippocampus_crop", "weights that ship"),
        ("head_tail", "hippocampus_head_tail", "weights that ship"),
        ("fs60", "hippocampus_fs60", "no weights ship"),
    ],
)
def test_the_scheme_and_its_reason_are_logged(scheme, table, reason, caplog):
    with caplog.at_level("INFO"):
        check_label_scheme(scheme, LabelTable.load(table))
    assert f"Label scheme {scheme}: " in caplog.text
    assert reason in caplog.text


def test_a_scheme_without_its_configuration_is_refused():
    with pytest.raises(InputError, match=r"3 classes of another one.*fs60_train\.json"):
        check_label_scheme("fs60", LabelTable.load("hippocampus_crop"))
    with pytest.raises(InputError, match="expected one of: head_tail, fs60"):
        check_label_scheme("ashs", LabelTable.load("hippocampus_crop"))


def test_tables_are_made_of_the_published_ids_and_of_two_like_sides():
    fs60 = LabelTable.load("hippocampus_fs60")
    plain = [203, 204, 205, 206, 208, 209, 210, 211, 212, 214, 215, 226]
    assert fs60.ids == (0, *(1000 + i for i in plain), *(2000 + i for i in plain))
    assert fs60.mirror == [0, *range(13, 25), *range(1, 13)]
    crop, whole = LabelTable.load("hippocampus_crop"), LabelTable.load("hippocampus_head_tail")
    assert crop.ids == (0, 1, 2)  # as in the labels of the Medical Segmentation Decathlon
    parts = crop.names[1:]
    assert whole.names[1:] == (*(f"Left-{part}" for part in parts), *(f"Right-{part}" for part in parts))
    assert whole.ids == (0, 1701, 1702, 5301, 5302)
