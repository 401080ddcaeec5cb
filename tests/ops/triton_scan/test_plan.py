"""How a scan is cut into programs."""

from __future__ import annotations

import pytest
import torch

from monai_mamba.ops.triton_scan import plan


def sizes(batch: int, directions: int, length: int, channels: int) -> torch.Tensor:
    return torch.empty(batch, directions, length, channels, device="meta")


def test_many_channels_stream_and_few_are_cut_into_chunks() -> None:
    published = plan.plan_scan(sizes(1, 8, 1728, 1024), 64, multiprocessors=132)
    assert published == plan.Plan(blocks=32, padded_states=64, warps=4, chunk=1728, chunks=1)
    long = plan.plan_scan(sizes(1, 1, 48**3, 96), 16, multiprocessors=132)
    assert (long.blocks, long.warps) == (3, 1)
    assert long.chunk % plan.INTERVAL == 0
    assert (long.chunks - 1) * long.chunk < 48**3 <= long.chunks * long.chunk
    assert 132 < 3 * long.chunks <= 4 * 132
    short = plan.plan_scan(sizes(1, 1, 100, 96), 16, multiprocessors=132)
    assert short.chunks == 1


@pytest.mark.parametrize("states", [1, 2, 3, 16, 20, 64, 100, 256])
def test_tiles_hold_all_states(states: int) -> None:
    found = plan.plan_scan(sizes(1, 1, 10, 33), states, multiprocessors=1)
    assert found.padded_states / 2 < states <= found.padded_states
    assert found.warps & (found.warps - 1) == 0
    assert plan.CHANNELS * found.padded_states <= found.warps * 32 * plan.STATES_PER_THREAD
    assert (found.blocks, found.chunk) == (2, 32)


def test_kept_states_cover_the_sequence() -> None:
    assert plan.saved_shape(sizes(2, 3, 65, 5), 7) == (2, 3, 3, 5, 7)
