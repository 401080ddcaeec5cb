"""A coarse look at the whole image, then windows in the box of the structures."""

from __future__ import annotations

import logging
import math
import re

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_mamba.errors import NotFiniteError
from monai_mamba.inferers import CoarseToFineInferer, SlidingWindowProbabilityInferer
from monai_mamba.inferers.coarse_to_fine import RIM
from monai_mamba.labels import LabelTable
from monai_mamba.labels.tables import LabelEntry
from monai_mamba.transforms import RestoreLabelsd

LEVELS = (0.0, 0.3, 0.6, 0.9)  # gray values of the background and of three structures
SHAPE = (131, 117, 143)
HEAD = tuple(slice(start, stop) for start, stop in ((21, 109), (13, 97), (40, 131)))  # 88 x 84 x 91
AFFINE = torch.tensor([[-1.0, 0, 0, 70], [0, 0, 1, -60], [0, -1, 0, 50], [0, 0, 0, 1]], dtype=torch.float64)  # LIA
NAME = "head.nii.gz"


class LevelNetwork(torch.nn.Module):
    """Names the structures by their gray values, and remembers the sizes that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, x: torch.Tensor, subvoxel: int | None = None) -> torch.Tensor:
        """Logits (B, 4, H, W, D) of images (B, 1, H, W, D)."""
        self.sizes.append(tuple(x.shape[2:]))
        if subvoxel is not None:
            x = x[:, :, ::2, ::2, ::2]
        return torch.cat([-100 * (x - level).abs() for level in LEVELS], dim=1)


class SpoiledNetwork(LevelNetwork):
    """Fails in windows that show a certain gray value."""

    def forward(self, x: torch.Tensor, subvoxel: int | None = None) -> torch.Tensor:
        """As `LevelNetwork`."""
        return super().forward(torch.where(x == 2, torch.nan, x), subvoxel)


def head(structures: int = 3, shape: tuple[int, ...] = SHAPE, box: tuple[slice, ...] = HEAD) -> MetaTensor:
    """Structures side by side in a box, and a false find of 0.1 ml in the corner."""
    image = torch.zeros(shape)
    for level, part in zip(LEVELS[1:], image[box].chunk(structures, dim=1), strict=False):
        part.fill_(level)
    image[-5:, -5:, -4:] = LEVELS[1]
    meta = {"filename_or_obj": NAME, "original_affine": AFFINE.numpy(), "spatial_shape": np.array(shape)}
    return MetaTensor(image[None, None], affine=AFFINE, meta=meta)


def inferer(**options: object) -> CoarseToFineInferer:
    windows = SlidingWindowProbabilityInferer(48, overlap=0.25, amp=False)
    return CoarseToFineInferer(windows, structures=[1, 2, 3], **options)


def start_of(result: MetaTensor) -> np.ndarray:
    """First voxel of a result in the image, by their affines."""
    matrix = np.linalg.inv(AFFINE.numpy()) @ np.asarray(result.affine).reshape(4, 4)
    np.testing.assert_array_equal(matrix[:3, :3], np.eye(3))
    return matrix[:3, 3].round().astype(int)


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_windows_lie_in_the_box_of_the_structures(caplog, stem_stride):
    image, network, whole = head(), LevelNetwork(), LevelNetwork()
    with caplog.at_level(logging.INFO):
        result = inferer(stem_stride=stem_stride)(image, network)
    expected = inferer(look=False)(image, whole)
    assert expected.shape == (1, 4, *SHAPE)
    start = start_of(result)
    stop = start + result.shape[2:]
    for axis, part in enumerate(HEAD):
        assert max(part.start - 11, 0) <= start[axis] <= part.start - 2  # 5 mm, and a cell of the look
        assert part.stop + 2 <= stop[axis] <= min(part.stop + 11, SHAPE[axis])
    inside = tuple(slice(*ends) for ends in zip(start, stop, strict=True))
    torch.testing.assert_close(result.as_tensor(), expected.as_tensor()[(..., *inside)], atol=2e-3, rtol=0)
    # The look, then three windows along each axis of about 110 voxels.
    assert network.sizes == [(96, 80, 96), *27 * [(48, 48, 48)]]
    assert len(whole.sizes) == 4 * 3 * 4
    assert NAME in caplog.text
    assert "27 windows" in caplog.text
    assert torch.equal(image.affine, AFFINE)


def test_labels_are_those_without_the_look_but_for_false_finds():
    image = head()
    names = ("Background", "One", "Two", "Three")
    table = LabelTable(tuple(LabelEntry(i, i, name, (0, 0, 0, 255), True) for i, name in enumerate(names)))
    restore = RestoreLabelsd("pred", table)
    looked, whole = (restore({"pred": inferer(look=look)(image, LevelNetwork())[0]})["pred"] for look in (True, False))
    assert looked.shape == whole.shape == (1, *SHAPE)
    assert torch.equal(looked.affine, whole.affine)
    assert (whole[0, -5:, -5:, -4:] == 1).all()
    whole[0, -5:, -5:, -4:] = 0
    assert torch.equal(looked.as_tensor(), whole.as_tensor())


def test_windows_reach_beyond_the_box_and_labels_do_not():
    network = LevelNetwork()
    result = inferer()(head(), network)
    box = inferer().find_box(head(), LevelNetwork())
    assert [part.start for part in box] == start_of(result).tolist()
    assert [part.stop - part.start for part in box] == list(result.shape[2:])
    windows = inferer(look=False)
    for part, size in zip(box, SHAPE, strict=True):
        assert part.start >= RIM  # so that the windows have room around it
        assert part.stop + RIM <= size
    grown = tuple(slice(part.start - RIM, part.stop + RIM) for part in box)
    alone = windows(head()[(..., *grown)], LevelNetwork())
    inner = alone[..., RIM:-RIM, RIM:-RIM, RIM:-RIM]
    assert torch.equal(result.as_tensor(), inner.as_tensor())


UNSURE = {
    "two of three structures": (2, HEAD, "finds 2 of 3 structures"),
    "nothing": (1, (slice(0),) * 3, "finds 0 of 3 structures"),
    "a box too small": (3, (*HEAD[:2], slice(40, 100)), r"in a box of \d+ x \d+ x 6\d mm only"),
}


@pytest.mark.parametrize(("structures", "box", "problem"), UNSURE.values(), ids=UNSURE)
def test_an_unsure_look_leads_to_the_whole_image_with_a_warning(caplog, structures, box, problem):
    image, network = head(structures, box=box), LevelNetwork()
    result = inferer()(image, network)
    assert result.shape == (1, 4, *SHAPE)
    assert torch.equal(result.affine, AFFINE)
    assert len(network.sizes) == 1 + 4 * 3 * 4
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert NAME in record.message
    assert re.search(problem, record.message)


def test_an_image_of_few_windows_is_not_looked_at(caplog):
    shape = (84, 40, 71)
    network = LevelNetwork()
    with caplog.at_level(logging.INFO):
        result = inferer()(head(shape=shape, box=(slice(2, 80), slice(2, 38), slice(2, 60))), network)
    assert result.shape == (1, 4, *shape)
    assert network.sizes == 4 * [(48, 48, 48)]
    assert not caplog.records


@pytest.mark.parametrize("size", [17, 28, 29, 50, 61, 100])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_the_fewest_windows_are_placed_evenly(size, overlap):
    starts = []

    def network(x: torch.Tensor) -> torch.Tensor:
        starts.append(int(x[0, 0, 0, 0, 0]))
        return x.repeat(1, 2, 1, 1, 1)

    image = MetaTensor(torch.arange(size, dtype=torch.float32).expand(1, 1, 16, 16, size))
    windows = SlidingWindowProbabilityInferer(16, overlap=overlap, amp=False)
    CoarseToFineInferer(windows, structures=[1], look=False)(image, network)
    largest = int(16 * (1 - overlap))
    steps = np.diff(starts)
    assert (starts[0], starts[-1]) == (0, size - 16)
    assert len(starts) == 1 + math.ceil((size - 16) / largest)
    assert steps.max() <= largest
    assert len(set(steps[:-1])) <= 1
    assert steps[0] - steps[-1] < len(starts)


def test_an_error_names_the_window_and_where_the_windows_begin():
    image = head()
    image[0, 0, 40, 50, 60] = 2
    with pytest.raises(NotFiniteError, match=r"^head\.nii\.gz: .* window of voxels \d") as error:
        inferer()(image, SpoiledNetwork())
    start, box = (int(re.search(text, str(error.value))[1]) for text in (r"voxels (\d+)-", r"count from (\d+),"))
    assert start + box <= 40 < start + box + 48
