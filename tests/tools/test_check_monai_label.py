"""The check of MONAI Label: end to end where there is an environment for it, and what it would not let pass."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest

from monai_mamba.errors import InputError
from monai_mamba.labels import LabelTable

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = REPOSITORY / "tools"
DOCUMENT = (REPOSITORY / "docs" / "monai_label.md").read_text(encoding="utf-8")


@pytest.fixture
def tool(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("check_monai_label")


def save(path: Path, labels: np.ndarray, shift: float = 0.0) -> Path:
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    affine[0, 3] = shift
    nib.save(nib.Nifti1Image(labels, affine), path)
    return path


def test_labels_are_compared_by_name_on_one_grid(tool, tmp_path):
    numbers, ids = tool.read_formats(tool.BUNDLES["subcortical"])
    assert ids["right-hippocampus"] == 53
    served = np.zeros((4, 4, 4), np.uint8)
    served[0], served[1] = numbers["left-hippocampus"], numbers["right-hippocampus"]
    written = np.zeros((4, 4, 4), np.uint8)
    written[0], written[1] = 17, 53
    one, other = save(tmp_path / "served.nii.gz", served), save(tmp_path / "written.nii.gz", written)
    assert tool.compare(one, other, numbers, ids) == "2 structures, 32 of 64 voxels, all equal"
    for wrong, message in (
        (save(tmp_path / "moved.nii.gz", served, shift=0.5), "grids differ"),
        (save(tmp_path / "cut.nii.gz", served[:3]), "grids differ"),
        (save(tmp_path / "ids.nii.gz", written), "32 of 64 voxels differ"),
    ):
        with pytest.raises(InputError, match=message):
            tool.compare(wrong, other, numbers, ids)
    nothing = save(tmp_path / "nothing.nii.gz", np.zeros_like(served))
    with pytest.raises(InputError, match="0 structures"):
        tool.compare(nothing, nothing, numbers, ids)


def test_numbers_of_slicer_become_ids_as_documented(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies" / "labels" / "final").mkdir(parents=True)
    table = LabelTable.load("subcortical")
    numbers = np.arange(1, 32, dtype=np.float32).reshape(31, 1, 1)  # some viewers save them like this
    path = save(tmp_path / "studies" / "labels" / "final" / "scan.nii.gz", numbers)
    (snippet,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    exec(snippet, {})
    found = nib.load(path)
    assert np.asarray(found.dataobj).ravel().tolist() == [entry.id for entry in table.structures]
    np.testing.assert_array_equal(found.affine, np.diag([-1.0, 1.0, 1.0, 1.0]))


@pytest.mark.skipif(
    "MONAI_LABEL_ENVIRONMENT" not in os.environ,
    reason="the variable MONAI_LABEL_ENVIRONMENT names no environment made as docs/monai_label.md says",
)
def test_the_server_answers_like_the_command_line():
    command = [sys.executable, str(TOOLS / "check_monai_label.py"), "--quick"]
    command += ["--environment", os.environ["MONAI_LABEL_ENVIRONMENT"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^ok  ", done.stdout, re.MULTILINE)) == 7
