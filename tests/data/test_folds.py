"""Folds that are written down: persons stay together, and what does not fit is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from monai_mamba.data.folds import split_folds
from monai_mamba.errors import InputError

SHIPPED = Path(__file__).resolve().parents[2] / "bundles" / "hippocampal_subfields" / "configs" / "folds.json"
PAIRS = [{"subject": f"hippocampus_{number:03}", "image": "", "label": ""} for number in (1, 2, 3, 4, 5, 6)]


@pytest.fixture
def folds(tmp_path) -> Path:
    path = tmp_path / "folds.json"
    path.write_text(json.dumps({"folds": [["hippocampus_001", "hippocampus_002"], ["hippocampus_003"]]}))
    return path


def names(pairs: list[dict[str, str]]) -> list[str]:
    return [pair["subject"][-3:] for pair in pairs]


def test_a_fold_is_held_out_and_unknown_cases_are_left_out(folds, caplog):
    with caplog.at_level("INFO"):
        training, validation = split_folds(PAIRS, folds, 0)
    assert (names(training), names(validation)) == (["003"], ["001", "002"])
    assert "3 of 6 cases are in no fold" in caplog.text


def test_the_file_may_lie_in_the_home_folder(folds, monkeypatch):
    monkeypatch.setenv("HOME", str(folds.parent))
    assert split_folds(PAIRS, f"~/{folds.name}", 1) == split_folds(PAIRS, folds, 1)


def test_all_trains_on_every_case_without_a_file():
    assert split_folds(PAIRS, "absent.json", "all") == (PAIRS, [])


def test_what_does_not_fit_is_refused(folds, tmp_path):
    for fold in (2, -1, "0", True):
        with pytest.raises(InputError, match="expected a number from 0 to 1 or 'all'"):
            split_folds(PAIRS, folds, fold)
    with pytest.raises(InputError, match="0 are for training and 1 in fold 1"):
        split_folds(PAIRS[2:], folds, 1)
    (tmp_path / "list.json").write_text("[]")
    for path in ("absent.json", "list.json"):
        with pytest.raises(InputError, match="not a JSON file with the entry 'folds'"):
            split_folds(PAIRS, tmp_path / path, 0)


def test_a_case_in_two_folds_is_refused(tmp_path):
    """It would be trained on and validated on."""
    (tmp_path / "folds.json").write_text('{"folds": [["a", "b"], ["b", "c"]]}')
    with pytest.raises(InputError, match=r"folds\.json: b is in several folds\. Put every case into one"):
        split_folds([{"subject": name} for name in "abc"], tmp_path / "folds.json", 0)


def test_no_person_is_in_two_of_the_shipped_folds():
    folds = json.loads(SHIPPED.read_text())["folds"]
    persons = [{(int(re.search(r"\d+", case).group()) + 1) // 2 for case in cases} for cases in folds]
    assert [len(cases) for cases in folds] == [42, 41, 42, 43, 46]
    assert sum(len(part) for part in persons) == len(set.union(*persons)) == 140
