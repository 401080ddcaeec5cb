"""Transforms that treat each entry by itself."""

from __future__ import annotations

import pytest
import torch

from monai_mamba.transforms.each_entry import EachEntryTransform


class Double(EachEntryTransform):
    def apply(self, entry: torch.Tensor) -> torch.Tensor:
        return 2 * entry


def test_named_entries_are_replaced_in_a_copy():
    data = {"one": torch.tensor(1), "two": torch.tensor(2), "other": torch.tensor(3)}
    assert Double(["one", "two"])(data) == {"one": 2, "two": 4, "other": 3}
    assert data["one"] == 1


def test_an_entry_that_is_not_there_is_an_error_unless_it_may_be_missing():
    with pytest.raises(KeyError, match="absent"):
        Double("absent")({})
    assert Double("absent", allow_missing_keys=True)({}) == {}
