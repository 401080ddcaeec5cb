"""The weights that ship with the tumor bundle, on the case that ships, as its README runs them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from bundle_runs import run_bundle

from monai_mamba.labels import RegionTable

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "brats_multimodal"


def test_the_tumor_that_ships_is_found(tmp_path):
    run_bundle([BUNDLE / "configs" / "inference.json"], output_dir=str(tmp_path), device="cpu", progress=False)
    (result,) = tmp_path.rglob("*_dseg.nii.gz")
    (reference,) = (BUNDLE / "sample_data").rglob("*-seg.nii.gz")
    table = RegionTable.load("brats2023")
    found, expected = (table.to_regions(np.asarray(nib.load(path).dataobj)) for path in (result, reference))
    for name, least, a, b in zip(table.names, (0.5, 0.7, 0.3), found, expected, strict=True):
        assert 2 * np.sum(a & b) / (a.sum() + b.sum()) > least, name
