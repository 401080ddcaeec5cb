"""Images that no head scan can be."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_mamba.errors import InputError
from monai_mamba.transforms import CheckImaged

SHAPE = (10, 12, 14)


@pytest.mark.parametrize("spacing", [0.1, 100.0])
def test_a_field_of_view_that_no_head_has_is_refused(spacing):
    image = MetaTensor(torch.rand(1, *SHAPE), affine=torch.diag(torch.tensor([spacing, 1, 1, 1], dtype=torch.float64)))
    with pytest.raises(InputError, match=rf"field of view is {spacing * SHAPE[0]:g} x 12 x 14 mm; a head needs"):
        CheckImaged("image")({"image": image})
