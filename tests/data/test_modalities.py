"""Which file is which modality of which case."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_mamba.data.modalities import (
    channel_order,
    in_modality_folders,
    modality_subsets,
    recognize,
    subset_name,
    with_subsets,
)
from monai_mamba.errors import InputError


@pytest.mark.parametrize(
    ("name", "case", "kind"),
    [
        ("Brats18_2013_2_1_flair.nii.gz", "Brats18_2013_2_1", "flair"),
        ("BraTS20_Training_001_t1.nii", "BraTS20_Training_001", "t1"),
        ("BraTS2021_00000_t1ce.nii.gz", "BraTS2021_00000", "t1ce"),
        ("BraTS2021_00000_t2.nii.gz", "BraTS2021_00000", "t2"),
        ("BraTS2021_00000_seg.nii.gz", "BraTS2021_00000", "label"),
        ("BraTS-GLI-00005-100-t2f.nii.gz", "BraTS-GLI-00005-100", "flair"),
        ("BraTS-GLI-00005-100-t1n.nii.gz", "BraTS-GLI-00005-100", "t1"),
        ("BraTS-GLI-00005-100-t1c.nii.gz", "BraTS-GLI-00005-100", "t1ce"),
        ("BraTS-MET-00005-100-t2w.nii.gz", "BraTS-MET-00005-100", "t2"),
        ("BraTS-GLI-00005-100-seg.nii.gz", "BraTS-GLI-00005-100", "label"),
        ("sub-01_ses-2_acq-3d_FLAIR.nii.gz", "sub-01_ses-2", "flair"),
        ("sub-01_T1w.nii.gz", "sub-01", "t1"),
        ("sub-01_ce-gadolinium_T1w.nii.gz", "sub-01", "t1ce"),
        ("sub-01_run-1_T2w.nii.gz", "sub-01_run-1", "t2"),
        ("sub-01_desc-tumor_dseg.nii.gz", "sub-01", "label"),
        ("patient/T1CE.nii.gz", "patient", "t1ce"),
        ("BRATS_001.nii.gz", "BRATS_001", None),
        ("scan_t1map.nii.gz", "scan_t1map", None),
    ],
)
def test_names(name, case, kind):
    assert recognize(name) == (case, kind)


def test_channels_of_a_datalist():
    assert channel_order(["FLAIR", "T1w", "t1gd", "T2w"], "dataset.json") == ("flair", "t1", "t1ce", "t2")
    assert channel_order(["T2", "t1c"], "dataset.json") == ("t2", "t1ce")
    for names in (["FLAIR", "ADC"], ["T1", "T1w"]):
        with pytest.raises(InputError, match=rf"dataset.json: its channels are {names[0]}, {names[1]}; expected"):
            channel_order(names, "dataset.json")


def test_the_15_subsets():
    subsets = modality_subsets()
    assert len(set(subsets)) == 15
    assert subsets[0] == ("flair", "t1", "t1ce", "t2")
    assert subset_name(("t2", "flair")) == "FLAIR+T2"


def test_a_case_is_looked_at_from_the_subsets_it_has():
    cases = [{"subject": "a", "present": "flair+t1+t1ce+t2"}, {"subject": "b", "present": "t1+t2"}]
    expanded = with_subsets(cases, modality_subsets())
    assert [case["subject"] for case in expanded].count("a") == 15
    assert [case["modalities"] for case in expanded if case["subject"] == "b"] == ["T1+T2", "T1", "T2"]
    for bad in ([()], [("t3",)], ["flair"]):
        with pytest.raises(InputError, match="--subsets has"):
            with_subsets(cases, bad)


ROOT = Path("/cases")


def places(*names: str) -> dict[str, tuple[str, str, str]]:
    found = in_modality_folders([ROOT / name for name in names], ROOT)
    return {path.relative_to(ROOT).as_posix(): (str(folder), *rest) for path, (folder, *rest) in found.items()}


def test_files_of_one_name_are_a_case():
    found = places("FLAIR/a.nii.gz", "T1/a.nii.gz", "seg/a.nii.gz", "other/a.nii.gz")
    assert found == {
        "FLAIR/a.nii.gz": (".", "a", "flair"),
        "T1/a.nii.gz": (".", "a", "t1"),
        "seg/a.nii.gz": (".", "a", "label"),
    }


def test_one_folder_alone_or_with_files_of_other_modalities_is_none():
    assert places("T1/a.nii.gz", "other/a.nii.gz") == {}
    assert places("t1/a_flair.nii.gz", "t2/a_flair.nii.gz") == {}


def test_without_a_common_name_a_folder_of_a_case_gives_the_name():
    found = places("x/FLAIR/1.nii.gz", "x/T1/2.nii.gz")
    assert {name for _, name, _ in found.values()} == {"x"}
    with pytest.raises(InputError, match="no file of one has the name of a file in another"):
        places("FLAIR/1.nii.gz", "T1/2.nii.gz")
