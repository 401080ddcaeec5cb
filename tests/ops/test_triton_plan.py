"""How a scan is cut into programs."""

from __future__ import annotations

import pytest
import torch

from monai_mamba.ops.triton_scan.plan import INTERVAL, MIN_CHUNK, plan_scan, saved_shape


def delta(batch: int, directions: int, length: int, channels: int) -> torch.Tensor:
    return torch.empty(batch, directions, length, channels, device="meta")


@pytest.mark.parametrize("shape", [(1, 1, 5000, 16), (2, 8, 1728, 128), (1, 3, 100, 48), (1, 1, 1, 1)])
def test_every_token_channel_and_state_has_its_place(shape):
    for multiprocessors in (1, 132):
        plan = plan_scan(delta(*shape), 10, multiprocessors)
        assert plan.chunk * (plan.chunks - 1) < shape[2] <= plan.chunk * plan.chunks
        assert plan.chunk % INTERVAL == 0
        assert plan.padded_states == 16
        assert 32 * plan.blocks >= shape[3]


def test_tokens_are_cut_only_where_programs_are_few_and_tokens_are_many():
    assert plan_scan(delta(2, 8, 5000, 512), 16, 132).chunks == 1
    assert plan_scan(delta(1, 1, 5000, 32), 16, 132).chunks > 1
    assert plan_scan(delta(1, 1, MIN_CHUNK, 32), 16, 132).chunks == 1


def test_a_state_is_kept_for_each_interval():
    assert saved_shape(delta(2, 8, 2 * INTERVAL + 1, 24), 16) == (2, 8, 3, 24, 16)
