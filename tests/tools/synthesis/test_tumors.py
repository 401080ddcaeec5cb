"""Parts of a synthetic tumor and of the brain that it grows into."""

from __future__ import annotations

import numpy as np
import pytest
from synthesis import tumors


def test_the_core_pushes_the_brain_away():
    tissue = np.broadcast_to(np.arange(41, dtype=np.uint8)[:, None, None], (41, 9, 9))
    pushed = tumors._push(tissue, np.array([20, 4, 4]), 10.0, 3.0, spacing=1.0)
    line = pushed[:, 4, 4].astype(int)
    assert (line[20], line[30], line[10]) == (20, 27, 13)  # 3 mm at the radius, on both sides
    assert (np.diff(line) >= 0).all()
    assert line[0] <= 2


def test_every_tissue_of_a_brain_has_an_intensity():
    tissue_of, brain_ids = tumors._tissue_tables()
    assert len(brain_ids) > 1000  # with the cortical parcels of aparc+aseg
    assert {tissue_of[value] for value in brain_ids} <= set(tumors.INTENSITIES)
    named = {name for part in (tumors.WHITE, tumors.FLUID, tumors.BELOW) for name in part}
    assert named <= set(tissue_of.values())
    assert tissue_of[4] == "ventricle"
    assert tissue_of[31] == tissue_of[137] == "choroid_plexus"
    assert tissue_of[251] == "white_matter"
    assert tissue_of[2035] == "cortex"


def test_noise_has_the_same_strength_everywhere():
    random = np.random.default_rng(0)
    samples = np.stack([tumors.smooth_noise((9, 7, 8), 3.0, random) for _ in range(400)])
    # 400 samples: the standard error of a standard deviation of 1 is 0.035, of the mean 0.05.
    assert np.abs(samples.std(axis=0) - 1).max() < 0.18
    assert np.abs(samples.mean(axis=0)).max() < 0.25
    assert np.corrcoef(samples[:, 3, 3, 2], samples[:, 3, 3, 5])[0, 1] == pytest.approx(0.61, abs=0.1)
    assert samples[0].shape == (9, 7, 8)
