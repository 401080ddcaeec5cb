"""What counts as the inside of the skull in a label map."""

from __future__ import annotations

import numpy as np
from make_average_head import CEREBELLUM, CORD, inside_of_skull

FLUID, BRAIN, SKULL, VESSEL = 24, 2, 515, 24


def test_brain_and_fluid_are_inside_and_vessels_of_the_neck_are_not():
    grid = np.indices((60, 60, 60)) - 30
    radius = np.sqrt((grid**2).sum(axis=0))
    ids = np.select([radius <= 16, radius <= 20, radius <= 23], [BRAIN, FLUID, SKULL], 0)
    ids[28:33, 28:33, 14:18] = CEREBELLUM[0]
    inside = (radius <= 20) & (grid[2] >= -16)
    ids[29:32, 29:32, :14] = CORD
    ids[30, 30, 55:] = VESSEL
    ids[40:42, 30, 30] = SKULL  # a hole
    found = inside_of_skull(ids)
    assert np.count_nonzero(found != inside) < 0.02 * np.count_nonzero(inside)  # edges are rounded
    assert found[40:42, 30, 30].all()
    assert not found[:, :, 55:].any()
