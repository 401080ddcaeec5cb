"""Label maps that come with scans."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from monai_mamba.data.aseg import add_asegs
from monai_mamba.errors import InputError


def test_each_scan_that_is_not_finished_gets_its_label_map(tmp_path):
    def scan(name: str, **entries: object) -> dict:
        return {"image": f"{name}.nii.gz", "output": str(tmp_path / "out" / f"{name}_desc-hippocampus"), **entries}

    labels = tmp_path / "results" / "here_desc-subcortical_dseg.nii.gz"
    labels.parent.mkdir()
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 8), np.uint8), np.eye(4)), labels)
    scans = [scan("here"), scan("absent"), scan("done", finished=True)]
    here, absent, done = add_asegs(scans, tmp_path / "results", tmp_path / "out", "subcortical")
    assert here == {**scans[0], "aseg": str(labels)}
    assert "absent.nii.gz: its label map cannot be used" in absent["problem"]
    assert done == scans[2]
    with pytest.raises(InputError, match="no such file"):
        add_asegs(scans[1:2], tmp_path / "results", tmp_path / "out", "subcortical")


def test_a_path_that_is_not_there_is_named(tmp_path):
    scans = [{"image": name, "output": str(tmp_path / name)} for name in ("one", "two")]
    with pytest.raises(InputError, match=r"reslts: there is no such file or folder.*--aseg"):
        add_asegs(scans, tmp_path / "reslts", tmp_path, "subcortical")
