"""The shipped weights as a TorchScript file: the same labels as the network itself."""

from __future__ import annotations

import warnings
from pathlib import Path

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "subcortical"
CONFIG = str(BUNDLE / "configs" / "inference.json")
MIDDLE = (slice(36, 132), slice(53, 149), slice(54, 150))  # of the sample scan, around the thalami


@pytest.fixture(scope="module")
def torchscript(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("export") / "model.ts")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monai.bundle.ckpt_export(bundle_root=str(BUNDLE), config_file=CONFIG, filepath=path, use_trace=True)
    return path


def segment(source: Path, output_dir: Path, **options: object) -> np.ndarray:
    bundle = ConfigWorkflow(
        CONFIG,
        workflow_type="infer",
        logging_file=False,
        input=str(source),
        output_dir=str(output_dir),
        device="cpu",
        progress=False,
        amp=False,
        mirror=False,
        **options,
    )
    bundle.initialize()
    bundle.run()
    return np.asarray(nib.load(output_dir / "part_desc-subcortical_dseg.nii.gz").dataobj)


def test_the_bundle_segments_alike_with_the_torchscript_network(torchscript, tmp_path):
    scan = nib.load(BUNDLE / "sample_data" / "sub-0001_T1w.nii.gz")
    nib.save(scan.slicer[MIDDLE], tmp_path / "part_T1w.nii.gz")
    expected = segment(tmp_path / "part_T1w.nii.gz", tmp_path / "network")
    found = segment(
        tmp_path / "part_T1w.nii.gz", tmp_path / "script", network=f"$torch.jit.load({torchscript!r}).to(@device)"
    )
    assert len(np.unique(expected)) > 5
    assert np.mean(found == expected) > 0.9999  # votes are rounded to half precision, so that classes may tie
