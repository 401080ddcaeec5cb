"""What all processes of a run take from the first; the real thing is in tests/bundles/test_many_scans.py."""

from __future__ import annotations

import pickle

import ignite.distributed as idist
import pytest

from monai_mamba.errors import InputError
from monai_mamba.ranks import on_first_rank


@pytest.fixture
def become(monkeypatch):
    """Makes this process one of two: the first one's message is kept for the second."""
    wire: list[bytes] = []

    def become(rank: int) -> None:
        def all_gather(item: tuple) -> list[tuple]:
            wire.append(pickle.dumps(item))
            return [pickle.loads(message) for message in wire]

        monkeypatch.setattr(idist, "get_rank", lambda: rank)
        monkeypatch.setattr(idist, "all_gather", all_gather)

    return become


def test_only_the_first_process_calls_and_all_get_the_result(become):
    calls = []

    @on_first_rank
    def listing(folder: str) -> list[str]:
        calls.append(folder)
        return [f"{folder}/{len(calls)}"]

    for rank in (0, 1):
        become(rank)
        assert listing("in") == ["in/1"]
    assert calls == ["in"]


def test_all_get_the_error_of_the_first(become):
    @on_first_rank
    def listing() -> list[str]:
        raise InputError("nothing there")

    for rank in (0, 1):
        become(rank)
        with pytest.raises(InputError, match="nothing there"):
            listing()


def test_a_single_process_needs_nobody():
    assert on_first_rank(len)("abc") == 3
