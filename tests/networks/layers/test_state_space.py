"""Initial values of the state spaces; the scans themselves are tested with the mixers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from monai_mamba.networks.layers.state_space import init_dt_bias, init_log_a


def test_step_sizes_start_log_uniform_between_1e_3_and_1e_1():
    torch.manual_seed(0)
    dt = functional.softplus(init_dt_bias(4, 5000))
    assert dt.shape == (4, 5000)
    assert dt.min() >= 1e-3 * 0.999
    assert dt.max() <= 1e-1 * 1.001
    assert dt.log10().mean().item() == pytest.approx(-2, abs=0.02)


def test_state_decay_starts_at_the_first_integers():
    assert torch.equal(init_log_a(4, 2, 3).exp().round(), torch.tensor([1.0, 2, 3, 4]).expand(2, 3, 4))
