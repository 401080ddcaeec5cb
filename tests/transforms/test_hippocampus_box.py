"""Boxes around hippocampi: the largest part counts, nothing is lost between cutting and putting back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_mamba.errors import InputError
from monai_mamba.grids import Grid, add_box, cut_box
from monai_mamba.transforms.hippocampus_box import centered_box, find_hippocampus, scale_to_surroundings

AFFINE = np.diag([-1.0, 1.0, 1.0, 1.0])
GRID = Grid("scan.nii", AFFINE, (40, 40, 40))


def label_map(size: int) -> np.ndarray:
    ids = np.zeros((40, 40, 40), dtype=np.uint8)
    ids[10 : 10 + size, 12:22, 15:25] = 17
    ids[35:38, 35:38, 35:38] = 17  # astray
    return ids


def test_the_box_is_that_of_the_largest_part_and_a_small_one_is_warned_of(caplog):
    assert find_hippocampus(label_map(16), 17, AFFINE, "Left", GRID) == (slice(10, 26), slice(12, 22), slice(15, 25))
    assert not caplog.records
    find_hippocampus(label_map(6), 17, AFFINE, "Left", GRID)
    assert "scan.nii: the left hippocampus is small (600 mm3)" in caplog.text
    with pytest.raises(InputError, match="has 400 mm3"):
        find_hippocampus(label_map(4), 17, AFFINE, "Left", GRID)


@pytest.mark.parametrize("spacing", [0.5, 1.0, 2.0])
def test_the_border_of_the_file_counts_whatever_its_spacing(spacing):
    """The hippocampus ends at x = -25.5 mm; the image does so too, or 2 mm farther out."""
    for edge, cut in ((-25.5, True), (-27.5, False)):
        affine = np.diag([spacing, spacing, spacing, 1.0])
        affine[:3, 3] = np.array([edge, -0.5, -0.5]) + spacing / 2
        source = Grid("scan.nii", affine, (int(60 / spacing), int(40 / spacing), int(40 / spacing)))
        if cut:
            with pytest.raises(InputError, match=r"left hippocampus is cut off by the border .* \(100 of its"):
                find_hippocampus(label_map(16), 17, AFFINE, "Left", source)
        else:
            find_hippocampus(label_map(16), 17, AFFINE, "Left", source)


def test_a_box_beyond_the_image_is_logged_padded_and_put_back(caplog):
    inner = (slice(2, 10), slice(20, 30), slice(30, 39))
    box = centered_box([inner], (16, 16, 16), AFFINE, GRID)
    assert box == (slice(-2, 14), slice(17, 33), slice(27, 43))
    assert "reaches 3 mm beyond the image" in caplog.text
    image = torch.rand(1, 2, 40, 40, 40)
    cut = cut_box(image, box)
    assert cut.shape == (1, 2, 16, 16, 16)
    assert not cut[:, :, :2].any()
    assert not cut[..., 13:].any()
    assert torch.equal(cut[:, :, 2:, :, :13], image[:, :, :14, 17:33, 27:])
    back = torch.zeros_like(image)
    add_box(back, cut, box)
    assert torch.equal(back[:, :, :14, 17:33, 27:], image[:, :, :14, 17:33, 27:])
    assert back.count_nonzero() == cut.count_nonzero()
    with pytest.raises(InputError, match="measures 8 x 10 x 9 mm, more than the box of 8 x 8 x 16 mm"):
        centered_box([inner], (8, 8, 16), AFFINE, GRID)


def test_the_scale_ignores_what_is_far_away_and_any_linear_change():
    torch.manual_seed(0)
    image = torch.rand(40, 40, 40)
    image[:5] = 50.0  # an eye
    inner = (slice(15, 25), slice(12, 22), slice(15, 25))
    scaled = scale_to_surroundings(image, image, inner)
    assert (scaled.min(), scaled.max()) == (0, 1)
    # Uniform in 0..1: the percentiles lie at 0.01 and 0.99, within the scatter of 8000 values.
    assert scaled[10:30, 7:27, 10:30].mean() == pytest.approx(0.5, abs=0.02)
    other = 7 * image + 300
    torch.testing.assert_close(scale_to_surroundings(other, other, inner), scaled, atol=1e-4, rtol=0)
