"""Cases whose files lie in a folder for each modality."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_mamba.data.modality_folders import in_modality_folders
from monai_mamba.errors import InputError

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
