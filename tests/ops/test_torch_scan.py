"""How the scan in plain PyTorch is cut up."""

from __future__ import annotations

import pytest
import torch

from monai_mamba.ops.torch_scan import KEEP_ALL_ELEMENTS, MIN_CHUNK, plan_blocks, plan_scan, saved_shape


@pytest.mark.parametrize("shape", [(1, 1, 5, 2), (2, 8, 64, 16), (3, 8, 4096, 64)])
def test_blocks_hold_every_sequence_once_and_states_fit(shape: tuple[int, ...]) -> None:
    delta, states = torch.empty(1).expand(shape), 16
    plan = plan_scan(delta, states)
    assert plan.keep_all == (delta.numel() * states <= KEEP_ALL_ELEMENTS)
    assert min(MIN_CHUNK, shape[2]) <= plan.chunk <= shape[2]
    seen = torch.zeros(shape[:2])
    for block in plan_blocks(delta, states, plan):
        seen[block] += 1
    assert (seen == 1).all()
    kept = shape[2] if plan.keep_all else -(-shape[2] // plan.chunk)
    assert saved_shape(delta, states) == (kept, *shape[:2], states, shape[3])
