"""Traversals: golden tables, an independent walker, and properties on boxes that are not cubes."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from monai_mamba.networks.layers.traversal import (
    serpentine_order,
    serpentine_orders,
    tri_oriented_orders,
)

# Voxels visited on a 2x2x2 cube by sequences 0 to 7 of each orientation
GOLDEN_CUBE_2 = """
01326754 37620451 54673201 62375104 45762310 15402673 10237645 40157326
01546732 37510462 54013267 62045137 23764510 26401573 76231045 73154026
04623751 31026457 51376204 64573102 15732640 75462013 40267315 20137546
02315764 32675401 57640231 67320154 46751320 10457623 13204675 45102376
04513762 31576402 51046237 64023157 26731540 20467513 73264015 75132046
02645731 32015467 57310264 67540132 13754620 76451023 46201375 23104576
"""
# Start corner (H, W, D; 1 is the high end) and fast, middle, slow axis with the sign of its first move, for even sizes
GOLDEN_WALKS = """
000+D+W+H 011+H-D-W 101-D+W-H 110-H+D-W 100+D+W-H 001+H-D+W 001-D+W+H 100-H+D+W
000+D+H+W 011+H-W-D 101-D-H+W 110-H-W+D 010+D+H-W 010+H-W+D 111-D-H-W 111-H-W-D
000+H+W+D 011-W-D+H 101-H+W-D 110-W+D-H 001+H+W-D 111-W-D-H 100-H+W+D 010-W+D+H
000+W+D+H 011-D+H-W 101+W-D-H 110+D-H-W 100+W+D-H 001-D+H+W 001+W-D+H 100+D-H+W
000+H+D+W 011-W+H-D 101-H-D+W 110-W-H+D 010+H+D-W 010-W+H+D 111-H-D-W 111-W-H-D
000+W+H+D 011-D-W+H 101+W-H-D 110+D-W-H 001+W+H-D 111-D-W-H 100+W-H+D 010+D-W+H
"""
CPU = torch.empty(0)
BOXES = [(2, 2, 2), (4, 4, 4), (3, 4, 5), (6, 2, 3), (1, 4, 3)]


def walk(size, corner, moves):
    """Walk to the wall, step aside, walk back: written as a person would walk, not as array operations."""
    position = [(n - 1) * bit for n, bit in zip(size, corner, strict=True)]
    direction = dict(moves)
    (fast, _), (middle, _), (slow, _) = moves
    voxels = []
    while True:
        voxels.append((position[0] * size[1] + position[1]) * size[2] + position[2])
        for axis in (fast, middle, slow):
            if 0 <= position[axis] + direction[axis] < size[axis]:
                position[axis] += direction[axis]
                break
            direction[axis] *= -1
        else:
            return voxels


@pytest.mark.parametrize("orientation", range(6))
def test_golden_values_on_the_smallest_cube(orientation):
    expected = [[int(v) for v in word] for word in GOLDEN_CUBE_2.split("\n")[orientation + 1].split()]
    assert serpentine_orders((2, 2, 2), orientation, CPU).tolist() == expected


@pytest.mark.parametrize("size", [(4, 4, 4), (2, 4, 6)])
@pytest.mark.parametrize("orientation", range(6))
def test_every_walk_starts_and_moves_as_published(orientation, size):
    orders = serpentine_orders(size, orientation, CPU)
    for k, word in enumerate(GOLDEN_WALKS.split("\n")[orientation + 1].split()):
        corner = [int(bit) for bit in word[:3]]
        moves = [("HWD".index(word[i + 1]), 1 if word[i] == "+" else -1) for i in (3, 5, 7)]
        assert orders[k].tolist() == walk(size, corner, moves)


@pytest.mark.parametrize("size", BOXES)
def test_any_axes_and_corner_agree_with_the_walker(size):
    for axes in itertools.permutations(range(3)):
        for corner in itertools.product((0, 1), repeat=3):
            moves = [(axis, -1 if corner[axis] else 1) for axis in axes]
            assert serpentine_order(size, axes, corner, CPU).tolist() == walk(size, corner, moves)


@pytest.mark.parametrize("size", BOXES)
def test_each_walk_visits_every_voxel_once_in_unit_steps(size):
    for orientation in range(6):
        for order in serpentine_orders(size, orientation, CPU):
            assert sorted(order.tolist()) == list(range(order.numel()))
            voxels = torch.stack(torch.unravel_index(order, size), dim=1)
            assert (voxels.diff(dim=0).abs().sum(1) == 1).all()


@pytest.mark.parametrize(
    ("size", "walks"), [((4, 4, 4), 48), ((3, 3, 3), 48), ((2, 4, 6), 48), ((3, 5, 7), 48), ((3, 4, 5), 40)]
)
def test_number_of_different_walks(size, walks):
    orders = torch.cat([serpentine_orders(size, orientation, CPU) for orientation in range(6)])
    assert len({tuple(order) for order in orders.tolist()}) == walks


def test_inter_slice_order_makes_the_first_axis_fastest():
    size = (2, 3, 4)
    raster, reverse, slices = tri_oriented_orders(size, CPU)
    volume = torch.arange(24).reshape(size)
    assert torch.equal(raster, volume.flatten())
    assert torch.equal(reverse, volume.flatten().flip(0))
    assert torch.equal(slices, volume.permute(1, 2, 0).flatten())


def test_inter_slice_order_interleaves_any_number_of_runs():
    num_slices, length = 6, 24
    run = length // num_slices
    order = tri_oriented_orders((2, 3, 4), CPU, num_slices=num_slices)[2]
    for s, p in itertools.product(range(num_slices), range(run)):
        assert order[p * num_slices + s] == s * run + p
    inverse = tri_oriented_orders((2, 3, 4), CPU, num_slices=run)[2]
    assert torch.equal(order[inverse], torch.arange(length))


def test_errors_say_what_is_possible():
    with pytest.raises(ValueError, match="orientation must be 0 to 5, got 6"):
        serpentine_orders((2, 2, 2), 6, CPU)
    with pytest.raises(ValueError, match="num_slices=5 does not divide the 24 voxels"):
        tri_oriented_orders((2, 3, 4), CPU, num_slices=5)


@pytest.mark.parametrize("orders", [partial(serpentine_orders, orientation=1), tri_oriented_orders])
def test_a_table_made_in_inference_mode_serves_training(orders):
    size = (3, 5, 2)
    with torch.inference_mode():
        orders(size, beside=CPU)
    x = torch.rand(30, requires_grad=True)
    (x[orders(size, beside=CPU)[0]] ** 2).sum().backward()
    assert torch.equal(x.grad, 2 * x.detach())


def test_a_table_made_while_exporting_does_not_stay():
    class Read(torch.nn.Module):
        def forward(self, x):
            return x.flatten()[serpentine_orders(x.shape, 2, x)[3]]

    x = torch.rand(5, 3, 2)
    exported = torch.export.export(Read(), (x,))
    order = serpentine_orders((5, 3, 2), 2, CPU)[3]
    assert order.tolist() == walk((5, 3, 2), (1, 1, 0), [(1, -1), (2, 1), (0, -1)])
    assert torch.equal(exported.module()(x), x.flatten()[order])


def test_a_table_of_a_pass_without_numbers_does_not_stay():
    with FakeTensorMode():
        assert serpentine_orders((3, 5, 7), 0, torch.empty(0)).shape == (8, 105)
    assert sorted(serpentine_orders((3, 5, 7), 0, CPU)[0].tolist()) == list(range(105))
