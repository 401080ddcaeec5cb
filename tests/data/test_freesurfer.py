"""One scan of each subject of FreeSurfer."""

from __future__ import annotations

from pathlib import Path

from monai_mamba.data.freesurfer import beside_scans_of_subjects, subject_of

ROOT = Path("/subjects")


def test_a_subject_is_known_by_its_volumes():
    assert subject_of(ROOT / "bert" / "mri" / "T1.mgz") == ROOT / "bert"
    assert subject_of(ROOT / "bert" / "mri" / "aseg.mgz") is None
    assert subject_of(ROOT / "bert" / "T1.mgz") is None


def test_the_first_volume_is_the_scan_and_templates_have_none():
    mri = ROOT / "bert" / "mri"
    scan, outside = mri / "orig.mgz", ROOT / "bert" / "notes" / "scan.nii.gz"
    beside = [mri / "T1.mgz", mri / "transforms" / "t.mgz", ROOT / "bert" / "label" / "x.nii.gz"]
    template = ROOT / "fsaverage" / "mri" / "orig.mgz"
    found = beside_scans_of_subjects([*beside, scan, outside, template, ROOT / "other.nii.gz"])
    assert found == {
        **dict.fromkeys(beside, "beside the scan of a FreeSurfer subject"),
        template: "in a template of FreeSurfer",
    }
