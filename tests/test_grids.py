"""Boxes of voxels on grids, and values taken from one grid to another."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import torch
from nibabel.affines import from_matvec
from scipy.ndimage import affine_transform

from monai_mamba.grids import (
    Grid,
    bounding_box,
    box_affine,
    box_corners,
    box_intersection,
    box_shape,
    box_union,
    box_within,
    label_boxes,
    largest_shift,
    map_box,
    sample_linearly,
    sample_part,
    voxel_map,
    voxel_volume,
)

ONE, OTHER = (slice(1, 4), slice(2, 5), slice(0, 2)), (slice(3, 6), slice(2, 4), slice(1, 9))


def test_boxes():
    assert box_union([ONE, OTHER]) == (slice(1, 6), slice(2, 5), slice(0, 9))
    both = box_intersection(ONE, OTHER)
    assert both == (slice(3, 4), slice(2, 4), slice(1, 2))
    assert box_within(both, ONE) == (slice(2, 3), slice(0, 2), slice(1, 2))
    assert box_intersection(ONE, (slice(4, 6), *OTHER[1:])) is None
    assert [corner.tolist() for corner in box_corners(ONE)] == [[1, 2, 0], [3, 4, 1]]
    assert box_shape(ONE) == (3, 3, 2)
    grid = from_matvec(np.diag([-1.0, 2.0, 1.0]), (5, 6, 7))
    np.testing.assert_array_equal(box_affine(grid, ONE), from_matvec(np.diag([-1.0, 2.0, 1.0]), (4, 10, 7)))


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_the_bounding_box_reaches_as_far_as_the_mask(kind):
    mask = np.zeros((5, 6, 7), dtype=bool)
    assert bounding_box(kind(mask), margin=1) is None
    mask[2, 3, 4] = mask[4, 3, 4] = True
    assert bounding_box(kind(mask)) == (slice(2, 5), slice(3, 4), slice(4, 5))
    assert bounding_box(kind(mask), margin=1) == (slice(1, 5), slice(2, 5), slice(3, 6))
    assert bounding_box(kind(mask), margin=(0, 9, 1)) == (slice(2, 5), slice(0, 6), slice(3, 6))


def test_each_label_has_a_box():
    labels = np.zeros((5, 6, 7), dtype=np.uint8)
    labels[1:3, 2, 4] = labels[4, 5, 6] = 3
    labels[0, 0, 0] = 1
    assert label_boxes(labels) == {1: (slice(0, 1),) * 3, 3: (slice(1, 5), slice(2, 6), slice(4, 7))}


def test_grids_that_coincide_are_mapped_by_whole_numbers():
    affine = from_matvec(np.diag([-1.0000001, 1.0, 0.9999999]), (12.0, -3.0, 5.0))
    moved = affine.copy()
    moved[:3, 3] += (-2.0004, 1.0, 0.0)
    np.testing.assert_array_equal(voxel_map(moved, affine), from_matvec(np.eye(3), (2, 1, 0)))
    moved[0, 3] -= 0.4
    assert voxel_map(moved, affine)[0, 3] == pytest.approx(2.4004, abs=1e-4)


def test_a_box_is_mapped_to_all_voxels_that_it_reaches():
    matrix = voxel_map(np.diag([2.0, 2.0, 2.0, 1.0]), np.eye(4))  # of 2 mm to 1 mm
    box = map_box(matrix, np.array([1, 1, 1]), np.array([2, 2, 2]), (9, 4, 9))
    assert box == (slice(2, 5), slice(2, 4), slice(2, 5))
    assert map_box(matrix, np.array([5, 1, 1]), np.array([6, 2, 2]), (9, 4, 9)) is None


def test_a_part_is_sampled_linearly_and_fades_out():
    image = torch.arange(6.0)[:, None, None].expand(6, 3, 3)
    half = from_matvec(np.eye(3), (0.5, 0, 0))
    part, box = (slice(1, 4), slice(0, 3), slice(0, 3)), (slice(0, 4), slice(1, 2), slice(1, 2))
    np.testing.assert_allclose(sample_part(image, part, half, box).ravel(), [0.5, 1.5, 2.5, 1.5])


@pytest.mark.parametrize("shift", [(0, 0, 0), (3, -1, 4), (9, 0, 0), (-9, 0, 0), (0.5, 0, 0)])
def test_voxels_that_coincide_are_what_interpolation_gives(shift):
    volume, box = np.arange(1.0, 61).reshape(3, 4, 5), (slice(1, 7), slice(0, 5), slice(2, 6))
    for axes, *signs in product(permutations(range(3)), *3 * [(1, -1)]):
        turn = np.eye(3)[list(axes)] * signs
        sampled = sample_linearly(volume, from_matvec(turn, shift), box, "grid-constant", 7.0)
        expected = affine_transform(volume, turn, turn @ (1, 0, 2) + shift, (6, 5, 4), None, 1, "grid-constant", 7.0)
        np.testing.assert_array_equal(sampled, expected.astype(np.float32))


def test_the_grid_of_meta_data_of_an_image_or_of_a_batch_of_one():
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    meta = {"original_affine": affine, "spatial_shape": (4, 5, 6), "filename_or_obj": "scan.nii"}
    batch = {"original_affine": affine[None], "spatial_shape": [[4, 5, 6]], "filename_or_obj": ["scan.nii"]}
    for grid in map(Grid.of, (meta, batch)):
        assert (grid.name, grid.shape) == ("scan.nii", (4, 5, 6))
        assert voxel_volume(grid.affine) == pytest.approx(24)
        # Voxel 0 is half a voxel inside along each axis; the first axis has the smallest ones.
        assert grid.distance_to_border(np.array([[0, 0, 0], [-1, 2, 2]])).tolist() == [1, -1]


def test_the_largest_shift_is_that_of_a_corner():
    turned = np.eye(4)
    turned[0, 0] = 1.1
    assert largest_shift(np.eye(4), turned, (11, 5, 5)) == pytest.approx(1.0)
