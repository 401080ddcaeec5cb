"""Label maps on different grids are compared in space."""

from __future__ import annotations

import numpy as np
from evaluation import robustness_report
from head_phantom import LEFT, RIGHT

from monai_mamba.metrics.structure_scores import structure_scores


def test_label_maps_are_compared_in_space():
    """A bar of 4 x 2 x 2 voxels of 2 mm and the same bar on a grid that lies 1 mm further along the first axis."""
    labels = np.zeros((8, 4, 4), dtype=np.int32)
    labels[2:6, 1:3, 1:3] = LEFT
    affine, shifted = np.diag([2.0, 2.0, 2.0, 1.0]), np.diag([2.0, 2.0, 2.0, 1.0])
    shifted[0, 3] = 1.0
    maps = [(labels, affine), (labels, shifted)]
    shape, grid = robustness_report.fine_grid(maps, labels.shape, affine)
    one, other = (robustness_report.onto_grid(values, place, shape, grid) for values, place in maps)
    assert np.count_nonzero(one) == np.count_nonzero(other) == 8 * 4 * 4
    np.testing.assert_allclose(robustness_report.overlaps(one, other, [LEFT, RIGHT]), [7 / 8, np.nan])
    scores = structure_scores(one, other, (LEFT, RIGHT))[:, 0]  # the package's, slower for the distances it finds
    np.testing.assert_allclose(robustness_report.overlaps(one, other, [LEFT, RIGHT]), scores, rtol=1e-6)
    np.testing.assert_array_equal(robustness_report.overlaps(one, np.zeros_like(one), [LEFT]), [0])
