"""The demo weights that ship with the tumor bundle, on the case that ships, as its README runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "brats_multimodal"


def test_the_demo_finds_the_core_of_the_tumor_that_ships(tmp_path):
    weights = BUNDLE / "models" / "demo_segmaformer.pt"
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(BUNDLE / "configs" / "inference.json")]
    command += ["--device", "cpu", "--weights", str(weights), "--output_dir", str(tmp_path), "--progress", "False"]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    (result,) = tmp_path.rglob("*_dseg.nii.gz")
    core = (1, 3)
    found = np.isin(np.asarray(nib.load(result).dataobj), core)
    (reference,) = (BUNDLE / "sample_data").rglob("*-seg.nii.gz")
    expected = np.isin(np.asarray(nib.load(reference).dataobj), core)
    assert 2 * np.sum(found & expected) / (found.sum() + expected.sum()) > 0.3
