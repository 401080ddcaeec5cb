"""The table of scans: persons, folds, what label maps lack."""

from __future__ import annotations

from pathlib import Path

import pytest

import monai_mamba
from monai_mamba.data.scan_table import describe_pairs, split_fold
from monai_mamba.errors import InputError

PAIRS = [{"subject": name, "image": name, "label": name} for name in ("a", "abrain", "b", "c")]
HEADER = "subject\tperson\tfold\tmissing\tdraws\n"
ROWS = HEADER + "a\ta\t0\t\t2\nabrain\ta\t0\t\t1\nb\tb\t1\t24,77\t1\nc\tc\t1\t\t0.5\n"


def table(folder: Path, text: str = ROWS) -> Path:
    path = folder / "scans.tsv"
    path.write_text(text)
    return path


def names(pairs: list[dict]) -> list[str]:
    return [pair["subject"] for pair in pairs]


def test_the_table_says_what_is_known_of_each_scan(tmp_path):
    described = describe_pairs(PAIRS, table(tmp_path))
    assert names(described) == ["a", "abrain", "b", "c"]
    assert described[2] == {**PAIRS[2], "person": "b", "fold": 1, "missing": "24,77", "draws": 1.0}


def test_a_table_of_excel_is_read(tmp_path):
    path = table(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert describe_pairs(PAIRS, path) == describe_pairs(PAIRS, table(tmp_path))


def test_without_a_table_every_map_is_complete_and_drawn_alike():
    assert describe_pairs(PAIRS) == [{**pair, "missing": "", "draws": 1.0} for pair in PAIRS]


def test_scans_are_left_out_by_name(tmp_path):
    assert names(describe_pairs(PAIRS, table(tmp_path), "a*")) == ["b", "c"]
    with pytest.raises(InputError, match="leaves out all 4 scans"):
        describe_pairs(PAIRS, table(tmp_path), "*")


def test_leaving_out_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--leave_out is 'A\*', and none of the 4 scans has such a name.*called as a"):
        describe_pairs(PAIRS, table(tmp_path), "A*")


def test_a_fold_is_held_out_with_all_scans_of_its_persons(tmp_path):
    described = describe_pairs(PAIRS, table(tmp_path))
    assert [names(part) for part in split_fold(described, 0)] == [["b", "c"], ["a", "abrain"]]
    assert [names(part) for part in split_fold(described, None)] == [["a", "abrain", "b", "c"], []]


def test_a_person_in_two_folds_and_a_fold_without_scans_are_refused(tmp_path):
    described = describe_pairs(PAIRS, table(tmp_path, ROWS.replace("abrain\ta\t0", "abrain\ta\t1")))
    with pytest.raises(InputError, match="Scans of a are in several folds"):
        split_fold(described, 0)
    with pytest.raises(InputError, match=r"holds 0 of 4 scans.*\[0, 1\]"):
        split_fold(describe_pairs(PAIRS, table(tmp_path)), 7)
    with pytest.raises(InputError, match="holds 0 of 4 scans"):
        split_fold(describe_pairs(PAIRS), 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ROWS.replace("c\tc\t1\t\t0.5\n", ""), "1 of 4 scans have no row, first c"),
        (
            ROWS.replace("missing", "lacks"),
            r"scans\.tsv: not a table of scans \(there is no column missing\)",
        ),
        (ROWS.replace("b\tb\t1", "b\tb\tone"), "not a table of scans"),
        (ROWS + "a\ta\t1\t\t1\n", r"not a table of scans \(a has 2 rows, expected one\)"),
        (ROWS.replace("24,77", "24;77"), "not a table of scans .*'24;77'"),
        (ROWS.replace("c\tc\t1\t\t0.5", "c\tc"), "not a table of scans"),
        (ROWS.replace("0.5", "-1"), "'draws' of c is not above 0"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        describe_pairs(PAIRS, table(tmp_path, text))


def test_the_cases_with_enhancing_tumor_are_in_folds_of_their_own():
    path = Path(monai_mamba.bundle_root("brats_multimodal"), "configs", "real_cases.tsv")
    cases = [{"subject": f"BraTS2021_{number:05d}"} for number in (1476, 1477, 1480, 1481, 1482, 1483, 1485)]
    described = describe_pairs(cases, path)
    held_out = [{case["subject"][-2:] for case in split_fold(described, fold)[1]} for fold in range(3)]
    assert held_out == [{"77", "81"}, {"82", "83"}, {"76", "80", "85"}]  # 81 and 82 have more than 1 cm3 of it


def test_the_table_that_ships_has_four_folds_of_seven_persons():
    path = Path(monai_mamba.bundle_root("subcortical"), "configs", "real_scans.tsv")
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    described = describe_pairs([{"subject": row[0]} for row in rows], path)
    persons = [{pair["person"] for pair in split_fold(described, fold)[1]} for fold in range(4)]
    assert [len(found) for found in persons] == [7, 7, 7, 7]
    assert len(set.union(*persons)) == 28
