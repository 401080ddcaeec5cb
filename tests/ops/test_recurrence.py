"""The in-place linear recurrence against a plain loop."""

from __future__ import annotations

import pytest
import torch

from monai_mamba.ops import recurrence


@pytest.mark.parametrize("busy", [1, 1 << 14], ids=["step by step", "segments"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 16, 31, 100, 257])
def test_equals_a_plain_loop(
    length: int, started: bool, reverse: bool, busy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurrence, "BUSY_ELEMENTS", busy)
    generator = torch.Generator().manual_seed(length)
    factors = torch.rand(length, 3, 2, generator=generator, dtype=torch.float64)
    values = torch.randn(length, 3, 2, generator=generator, dtype=torch.float64)
    start = torch.randn(3, 2, generator=generator, dtype=torch.float64) if started else None

    expected = values.clone()
    before = torch.zeros(3, 2, dtype=torch.float64) if start is None else start
    for t in reversed(range(length)) if reverse else range(length):
        expected[t] += factors[t] * before
        before = expected[t]

    given = factors.clone()
    recurrence.recur(factors, values, start, reverse)
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-13)
    assert torch.equal(factors, given)


def test_empty_sequence_is_left_alone() -> None:
    values = torch.empty(0, 3)
    recurrence.recur(torch.empty(0, 3), values, torch.ones(3), reverse=True)
    assert values.shape == (0, 3)


def test_segments_only_where_steps_are_small() -> None:
    assert recurrence.segment_count(1000, 1 << 14, "cpu") == 1
    assert recurrence.segment_count(1000, 64, "cpu") == 44  # sqrt(2 * 1000)
    assert recurrence.segment_count(3, 64, "cpu") == 1
    assert recurrence.segment_count(1000, 1 << 13, "cpu") == 1  # two segments would take as many operations
