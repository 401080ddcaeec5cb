"""Scans of another kind by their names and headers."""

from __future__ import annotations

import pytest

from monai_mamba.data.other_scans import doubts_by_name

FOUND = {
    "sub-1_T1w.nii.gz": [],
    "sub-1_space-T1w_desc-preproc_T1w.nii.gz": [],
    "ce-1_T2w_study_T1w.mgz": [],
    "space-MNI152NLin6Asym_T1w.nii": ["in the space of a template"],
    "sub-1_space-MNIInfant_T2w.nii.gz": ["in the space of a template", "no T1-weighted scan"],
    "sub-1_ce-gadolinium_run-2_T1w.nii.gz": ["with a contrast agent"],
    "sub-1_acq-spc_FLAIR.nii.gz": ["no T1-weighted scan"],
    "BraTS2021_00000_t2.nii.gz": ["no T1-weighted scan"],
    "BraTS-GLI-00000-000-t1c.nii.gz": ["with a contrast agent"],
    "BraTS-GLI-00000-000-t1n.nii.gz": [],
}


@pytest.mark.parametrize("name", FOUND)
def test_what_names_say(name):
    doubts = doubts_by_name({"filename_or_obj": f"study/anat/{name}"})
    assert len(doubts) == len(FOUND[name])
    assert all(expected in doubt for expected, doubt in zip(FOUND[name], doubts, strict=True))


@pytest.mark.parametrize(("sform", "qform", "space"), [(1, 4, None), (0, 3, "Talairach"), (4, 1, "MNI152")])
def test_the_code_that_is_used_counts(sform, qform, space):
    doubts = doubts_by_name({"filename_or_obj": "a.nii", "sform_code": sform, "qform_code": qform})
    assert len(doubts) == (space is not None)
    assert all(f"by its header in the space of a template ({space})" in doubt for doubt in doubts)
