"""Headers that contradict themselves, or that say nothing about left and right."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from head_phantom import make_head, save_head
from odd_headers import (
    AFFINE,
    HALF,
    MIRRORED,
    SHAPE,
    head,
    in_meters,
    mgh,
    mirrored_mgh,
    moved,
    no_rotation,
    patched,
    turned,
    without_orientation,
)
from test_malformed import failure, options, results, run

from monai_mamba.data.image_file import read_image
from monai_mamba.errors import InputError

__all__ = ["options"]  # a fixture

CONTRADICTIONS: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "sform of 1 mm, qform and pixdim of 0.5 mm": (
        "s.nii",
        lambda path: head(path, qform=HALF),
        "voxels of 1 x 1 x 1 mm by the sform of the header and of 0.5 x 0.5 x 0.5 mm by qform and pixdim",
    ),
    "sform of 1 mm, pixdim of 2 mm, no qform": (
        "s.nii",
        lambda path: head(path, qform=None, pixdim=2),
        "of 2 x 2 x 2 mm by pixdim; expected sizes that agree within 3%",
    ),
    "voxels of 1 mm, 4 % larger in pixdim": (
        "s.nii",
        lambda path: head(path, pixdim=1.04),
        "of 1.04 x 1.04 x 1.04 mm by qform and pixdim",
    ),
    "sform and qform that mirror each other": (
        "s.nii",
        lambda path: head(path, qform=MIRRORED),
        "disagree about left and right; one is the mirror image of the other",
    ),
    "sform and qform turned by 180 degrees": (
        "s.nii",
        lambda path: head(path, qform=turned(180) @ AFFINE),
        "turned against each other by 180 degrees",
    ),
    "axes exchanged in one of sform and qform": (
        "s.nii",
        lambda path: head(path, qform=turned(90, axis=0) @ AFFINE),
        "turned against each other by 90 degrees",
    ),
    "no sform, voxels of 0 mm in pixdim": (
        "s.nii",
        lambda path: patched(path, (2, 0)),
        "voxels of 1 x 0 x 1 mm by pixdim of the header, and it has no sform; expected sizes above 0",
    ),
    "no sform, and a sign of the qform of -3": (
        "s.nii",
        lambda path: patched(path, (0, -3)),
        "pixdim[0] of the header is -3; expected 1 or -1, which tells left from right",
    ),
    "an .mgh whose direction cosines have the length 1.5": (
        "s.mgh",
        mgh,
        "voxels of 1.5 x 1.5 x 1.5 mm by the matrix of the header and of 1 x 1 x 1 mm by the voxel sizes",
    ),
    "an .mgh with a voxel size of -1 mm": (
        "s.mgh",
        mirrored_mgh,
        "voxels of -1 x 1 x 1 mm by the header; expected sizes above 0, because a mirrored axis",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_header_that_contradicts_itself_is_refused(case, tmp_path, options):
    name, make, message = CONTRADICTIONS[case]
    path = make(tmp_path / name)
    error = failure(path, options)
    assert isinstance(error, InputError)
    assert str(error).startswith(f"{path}: ")
    assert message in str(error)
    assert results(tmp_path) == []
    with pytest.raises(InputError, match="from the original data"):
        read_image(path)


DOUBTS: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "voxels of 1 mm, 2 % larger in pixdim": (
        "s.nii",
        lambda path: head(path, pixdim=1.02),
        "and of 1.02 x 1.02 x 1.02 mm by qform and pixdim; the sform is used",
    ),
    "a qform that lies 30 mm beside the sform": (
        "s.nii",
        lambda path: head(path, qform=moved(30, 0, 0)),
        "place the voxels differently, by up to 30 mm and 0 degrees; the sform is used",
    ),
    "a qform turned by 20 degrees against the sform": (
        "s.nii",
        lambda path: head(path, qform=turned(20) @ AFFINE),
        "place the voxels differently, by up to 6.14 mm and 20 degrees; the sform is used",
    ),
    "no sform, voxels of -1 mm in pixdim": (
        "s.nii",
        lambda path: patched(path, (1, -1)),
        "voxels of -1 x 1 x 1 mm by pixdim of the header; read as sizes above 0",
    ),
    "lengths in meters": ("s.nii", in_meters, "the header gives lengths in meters, in which no head has this size"),
    "a qform that is no rotation": (
        "s.nii",
        no_rotation,
        "the qform of the header is not a rotation; the sform",
    ),
}


@pytest.mark.parametrize("case", DOUBTS)
def test_a_small_contradiction_is_warned_of_and_the_sform_wins(case, tmp_path, options, caplog):
    name, make, message = DOUBTS[case]
    path = make(tmp_path / name)
    with caplog.at_level(logging.WARNING, "monai_mamba"):
        run(path, options)
    assert message in caplog.text
    warnings = [line for line in caplog.messages if str(path) in line and "structures are unusual" not in line]
    assert len(warnings) == 2  # this one, and that the field of view is small
    result = nib.load(tmp_path / "out" / "s_desc-subcortical_dseg.nii.gz")
    np.testing.assert_array_equal(result.affine, AFFINE)
    np.testing.assert_array_equal(np.asarray(result.dataobj)[1:], make_head(SHAPE, AFFINE)[1][1:])


def test_an_mgh_file_without_orientation_is_warned_of_and_the_result_claims_none(tmp_path, options, caplog):
    path = without_orientation(tmp_path / "s.mgh")
    with caplog.at_level(logging.WARNING, "monai_mamba"):
        run(path, options)
    assert "the header has no orientation (goodRASFlag is 0)" in caplog.text
    assert "left and right are swapped" in caplog.text
    result = nib.load(tmp_path / "out" / "s_desc-subcortical_dseg.nii.gz")
    # 2 says that the voxels lie as those of another file, which is true; 1 would say that the scanner knows where.
    assert (int(result.header["qform_code"]), int(result.header["sform_code"])) == (0, 2)
    np.testing.assert_array_equal(result.affine, nib.load(path).affine)


def test_an_mgh_file_with_orientation_gives_a_result_that_says_so(tmp_path, options, caplog):
    save_head(tmp_path / "s.mgz", SHAPE, np.diag([-1.0, 1, 1]))
    with caplog.at_level(logging.WARNING, "monai_mamba"):
        run(tmp_path / "s.mgz", options)
    assert "no orientation" not in caplog.text
    result = nib.load(tmp_path / "out" / "s_desc-subcortical_dseg.nii.gz")
    assert int(result.header["qform_code"]) == int(result.header["sform_code"]) == 1
