"""Label maps that come with scans."""

from __future__ import annotations

from contextlib import nullcontext

import nibabel as nib
import numpy as np
import pytest

from monai_mamba.data.aseg import add_asegs
from monai_mamba.data.content import describe_sources
from monai_mamba.data.image_file import checksum_of
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


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_label_map_of_another_scan_is_refused(is_folder, tmp_path):
    """By the checksums in its header; one without them may be of any program, on any grid."""
    voxels = np.ones((8, 8, 8), np.uint8)
    for name, value in (("a", 2), ("b", 3)):
        voxels[0] = value
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / f"{name}.nii")
    labels = nib.Nifti1Image(voxels, np.eye(4))
    path = tmp_path / "results" / "b_desc-subcortical_dseg.nii.gz"
    path.parent.mkdir()
    scans = [{"image": str(tmp_path / "b.nii"), "output": str(tmp_path / "out" / "b_desc-hippocampus")}]
    source = path.parent if is_folder else path
    for checksum, message in ((None, None), ("b", None), ("a", "results/b_desc-subcortical_dseg.nii.gz: it was made")):
        if checksum:
            content = (tmp_path / f"{checksum}.nii").read_bytes()
            labels.header["descrip"] = describe_sources(checksum_of(content), "0123abcd")
        nib.save(labels, path)
        with pytest.raises(InputError, match=message) if message else nullcontext():
            assert add_asegs(scans, source, tmp_path / "out", "subcortical") == [{**scans[0], "aseg": str(path)}]
