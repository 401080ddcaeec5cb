"""Known motions between two contrasts of one head are found."""

from __future__ import annotations

import numpy as np
import pytest
from moved_phantom import GRIDS, motion, points, scan

from monai_mamba.transforms.registration import register_rigidly

LARGEST_ERROR = 1.0  # mm, anywhere in the brain; voxels are 2 mm wide in the fixed scan and up to 4 in the others


@pytest.mark.parametrize("modality", GRIDS)
def test_a_known_motion_is_found_within_a_millimeter(modality):
    (fixed, affine), (moving, its_affine) = scan("t1ce"), scan(modality)
    found = register_rigidly(fixed, affine, moving, its_affine)
    where = points(fixed.shape, affine)[fixed > 0][::50]
    error = where @ (found @ motion(modality))[:3, :3].T + (found @ motion(modality))[:3, 3] - where
    assert np.linalg.norm(error, axis=1).max() < LARGEST_ERROR
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-9)


def test_headers_that_place_the_scans_apart_do_not_matter():
    (fixed, affine), (moving, its_affine) = scan("t1ce"), scan("t2")
    apart = np.eye(4)
    apart[:3, 3] = (400, -300, 200)
    found = register_rigidly(fixed, affine, moving, apart @ its_affine)
    where = points(fixed.shape, affine)[fixed > 0][::50]
    matrix = found @ apart @ motion("t2")
    error = where @ matrix[:3, :3].T + matrix[:3, 3] - where
    assert np.linalg.norm(error, axis=1).max() < LARGEST_ERROR


def test_the_same_scans_give_the_same_matrix():
    (fixed, affine), (moving, its_affine) = scan("t1ce"), scan("t2")
    results = [register_rigidly(fixed, affine, moving, its_affine) for _ in range(2)]
    np.testing.assert_array_equal(*results)
