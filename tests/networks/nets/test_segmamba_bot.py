"""SegMambaBot differs from MedSegMamba in its mixers alone."""

from __future__ import annotations

import torch

import monai_mamba


def test_small_segmamba_bot_is_the_small_medsegmamba_with_another_mixer():
    with torch.device("meta"):
        networks = monai_mamba.medsegmamba_small(), monai_mamba.segmamba_bot_small()
    rest = [{k: p.shape for k, p in n.state_dict().items() if ".mixer." not in k} for n in networks]
    assert rest[0] == rest[1]
