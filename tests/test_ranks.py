"""What the processes of a run tell each other; the real thing is in tests/bundles/test_many_scans.py."""

from __future__ import annotations

import pickle

import pytest
import torch.distributed as dist

from monai_mamba.errors import InputError
from monai_mamba.ranks import gather_on_first_rank, on_first_rank


@pytest.fixture
def become(monkeypatch):
    """Makes this process one of two, whose messages lie in a list until the other takes them."""
    wire: list[bytes] = []

    def become(rank: int) -> None:
        def broadcast(objects: list, src: int) -> None:
            if rank == src:
                wire.append(pickle.dumps(objects))
            else:
                objects[:] = pickle.loads(wire.pop())

        monkeypatch.setattr(dist, "is_initialized", lambda: True)
        monkeypatch.setattr(dist, "get_rank", lambda: rank)
        monkeypatch.setattr(dist, "get_world_size", lambda: 2)
        monkeypatch.setattr(dist, "broadcast_object_list", broadcast)

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
    assert gather_on_first_rank({1: "a"}) == [{1: "a"}]
