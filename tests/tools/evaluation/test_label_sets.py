"""Sets of label maps, and the tables beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluation.label_sets import find_label_set, read_column, volumes_of

from monai_mamba.errors import InputError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_folder_names_subjects_by_its_label_maps(tmp_path):
    touch(tmp_path, "a_desc-aseg_dseg.nii.gz", "x/b_dseg.nii", "a_T1w.nii.gz", ".c_dseg.nii.gz", "notes.txt")
    assert sorted(find_label_set("ours", str(tmp_path)).files) == ["a", "b"]


def test_a_path_names_subjects_by_a_folder(tmp_path):
    touch(tmp_path, "a/mri/aseg.mgz", "b/mri/aseg.mgz", "b/mri/T1.mgz", "[c]/mri/aseg.mgz")
    found = find_label_set("ours", f"{tmp_path}/{{subject}}/mri/aseg.mgz").files
    assert sorted(found) == ["[c]", "a", "b"]
    assert found["a"] == tmp_path / "a" / "mri" / "aseg.mgz"


def test_no_map_or_two_of_one_subject_are_refused(tmp_path):
    with pytest.raises(InputError, match="ours: no label map found"):
        find_label_set("ours", str(tmp_path))
    touch(tmp_path, "x/a_dseg.nii.gz", "y/a_dseg.nii.gz")
    with pytest.raises(InputError, match="both belong to subject a"):
        find_label_set("ours", str(tmp_path))


def test_a_column_of_the_table_beside_a_label_map(tmp_path):
    table = volumes_of(tmp_path / "a_desc-subcortical_dseg.nii.gz")
    assert table == tmp_path / "a_desc-subcortical_volumes.tsv"
    table.write_text("id\tname\tmm3\n17\tx\t12.5\n18\ty\tn/a\n")
    np.testing.assert_array_equal(read_column(table, [18, 17, 53], "mm3"), [np.nan, 12.5, np.nan])
    assert np.isnan(read_column(table, [17], "expected_dsc")).all()
