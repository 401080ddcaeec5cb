"""The demo weights that ship with the tumor bundle, on the case that ships, as its README runs them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from bundle_runs import run_bundle

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "brats_multimodal"


def test_the_demo_finds_the_core_of_the_tumor_that_ships(tmp_path):
    configs = [BUNDLE / "configs" / "inference.json"]
    weights = str(BUNDLE / "models" / "demo_segmaformer.pt")
    run_bundle(configs, weights=weights, output_dir=str(tmp_path), device="cpu", progress=False)
    (result,) = tmp_path.rglob("*_dseg.nii.gz")
    core = (1, 3)
    found = np.isin(np.asarray(nib.load(result).dataobj), core)
    (reference,) = (BUNDLE / "sample_data").rglob("*-seg.nii.gz")
    expected = np.isin(np.asarray(nib.load(reference).dataobj), core)
    assert 2 * np.sum(found & expected) / (found.sum() + expected.sum()) > 0.3
