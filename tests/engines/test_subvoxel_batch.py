"""Batches of one sub-lattice of the output."""

from __future__ import annotations

import pytest
import torch

from monai_mamba.engines import PrepareSubvoxelBatch


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_label_matches_the_sub_voxel_asked_for(stem_stride):
    voxels = torch.arange(4**3).reshape(1, 1, 4, 4, 4)
    prepare = PrepareSubvoxelBatch(stem_stride)
    seen = set()
    for _ in range(60):
        image, label, _, keywords = prepare({"image": voxels.float(), "label": voxels})
        assert torch.equal(image, voxels.float())
        subvoxel = keywords.get("subvoxel", 0)
        i, j, k = subvoxel // 4, subvoxel // 2 % 2, subvoxel % 2
        assert torch.equal(label, voxels[..., i::stem_stride, j::stem_stride, k::stem_stride])
        seen.add(subvoxel)
    assert seen == set(range(stem_stride**3))
