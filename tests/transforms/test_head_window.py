"""What windows of real and of synthetic scans are made with."""

from __future__ import annotations

import torch

from monai_mamba.transforms.head_window import RandHeadWindow, linear, nearest


class Window(RandHeadWindow):
    """The base as it is."""

    def __call__(self, data: object) -> object:
        return data


VOLUME = torch.arange(24.0).reshape(4, 3, 2)
# Between two voxels, on a voxel, and outside
POSITIONS = torch.tensor([[0.4, 1.0, -0.6], [0.0, 2.0, 0.0], [0.0, 1.0, 0.0]])


def test_the_nearest_voxel_and_0_outside():
    assert nearest(VOLUME, POSITIONS).tolist() == [0, 11, 0]
    assert nearest(VOLUME + 5, POSITIONS).tolist() == [5, 16, 0]


def test_linear_between_voxels_and_towards_0_outside():
    found = linear(VOLUME + 5, POSITIONS[:, :, None, None])
    torch.testing.assert_close(found.flatten(), torch.tensor([5 + 0.4 * 6, 16.0, 0.4 * 5]))


def test_a_window_lies_around_its_center_and_follows_the_seed():
    window = Window("image", roi_size=(5, 7, 9), center=(10, 11, 12), elastic=0.0)
    volume, classes = torch.ones(20, 22, 24), torch.tensor([0, 1])

    def draw(seed: int) -> torch.Tensor:
        window.set_random_state(seed)
        window.generator = torch.Generator().manual_seed(seed)
        return window.positions(volume, classes, mirrored=False)

    positions = draw(1)
    assert positions.shape == (3, 5, 7, 9)
    torch.testing.assert_close(positions[:, 2, 3, 4], torch.tensor([10.0, 11.0, 12.0]))
    assert torch.equal(draw(1), positions)
    assert not torch.equal(draw(2), positions)


def test_stripping_keeps_a_margin_of_up_to_3_voxels_around_the_brain():
    window = Window("image", strip_prob=1.0)
    brain = torch.zeros(11, 11, 11, dtype=torch.bool)
    brain[5, 5, 5] = True
    kept = set()
    for seed in range(20):
        window.set_random_state(seed)
        kept.add(int(window.strip(torch.ones(11, 11, 11), brain).sum()))
    assert kept == {1, 3**3, 5**3, 7**3}
