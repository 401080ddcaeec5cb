"""Files that every bundle has alike stay alike."""

from __future__ import annotations

from pathlib import Path

import pytest

BUNDLES = sorted((Path(__file__).resolve().parents[2] / "bundles").glob("*/"))


@pytest.mark.parametrize("name", ["LICENSE", "configs/logging.conf", "configs/multi_gpu_inference.json"])
def test_bundles_share_a_file(name):
    assert len(BUNDLES) >= 3
    assert len({(bundle / name).read_bytes() for bundle in BUNDLES}) == 1
