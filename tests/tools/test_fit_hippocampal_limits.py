"""The fit of the limits of the hippocampal bundle."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_mamba.data.quality import QualityLimits

TOOL = Path(__file__).resolve().parents[2] / "tools" / "fit_hippocampal_limits.py"


def test_limits_are_the_extremes_of_crops_and_of_the_sides_of_a_person(monkeypatch, tmp_path, capsys):
    (tmp_path / "data" / "labelsTr").mkdir(parents=True)
    # Cases 1 and 2 are one person; 4 has no other side.
    for case, (anterior, posterior) in {1: (10, 12), 2: (20, 12), 4: (16, 6)}.items():
        ids = np.zeros((5, 8, 8), np.uint8)
        ids.ravel()[:anterior], ids.ravel()[100 : 100 + posterior] = 1, 2
        nib.save(
            nib.Nifti1Image(ids, np.diag([1, 1, 2, 1])),
            tmp_path / "data" / "labelsTr" / f"hippocampus_{case:03d}.nii.gz",
        )
    monkeypatch.syspath_prepend(TOOL.parent)
    import fit_hippocampal_limits

    options = ["--dataset_dir", str(tmp_path / "data"), "--output_dir", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [TOOL.name, *options])
    assert fit_hippocampal_limits.main() == 0
    assert "3 hippocampi, 1 people with both." in capsys.readouterr().out
    limits = QualityLimits.load(tmp_path / "out" / "quality.tsv").limits
    for side in ("Left", "Right"):
        anterior, posterior = (limits[f"{side}-Hippocampus-{part}"] for part in ("anterior", "posterior"))
        assert anterior == pytest.approx((2 * 10 / 2, 2 * 20 * 2, 2 * 10 / 15, np.nan), rel=1e-3, nan_ok=True)
        assert posterior == pytest.approx((2 * 6 / 2, 2 * 12 * 2, 0, np.nan), rel=1e-3, nan_ok=True)
