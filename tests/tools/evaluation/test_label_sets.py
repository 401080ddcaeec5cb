"""Sets of label maps, and the tables beside them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from evaluation.label_sets import find_label_set, read_column, read_scores, volumes, volumes_of

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


def test_volumes_are_voxels_times_their_size():
    labels = np.array([[[17, 17, 53, 0]]], dtype=np.int32)
    assert volumes(labels, np.diag([1.0, 2.0, 3.0, 1.0]), [53, 17, 60]).tolist() == [6, 12, 0]


def test_a_missing_distance_is_read_as_missing(tmp_path):
    (tmp_path / "scores.tsv").write_text("subject\tid\tname\tdsc\thd95_mm\na\t1\tone\t0\tn/a\na\t2\ttwo\t0.5\t3\n")
    metrics, cases = read_scores(tmp_path / "scores.tsv")
    assert metrics == ["dsc", "hd95_mm"]
    one, two = cases["a", ""].values()
    assert (one[0], two, math.isnan(one[1])) == (0, [0.5, 3], True)


def test_subsets_of_modalities_are_cases_of_their_own_and_a_row_is_there_once(tmp_path):
    rows = ["subject\tmodalities\tregion\tdsc", "a\tT1\tWT\t0.5", "a\tT2\tWT\t0.6"]
    (tmp_path / "scores.tsv").write_text("\n".join(rows))
    assert read_scores(tmp_path / "scores.tsv")[1] == {("a", "T1"): {"WT": [0.5]}, ("a", "T2"): {"WT": [0.6]}}
    (tmp_path / "scores.tsv").write_text("\n".join([*rows, rows[1]]))
    with pytest.raises(ValueError, match="a has two rows of WT"):
        read_scores(tmp_path / "scores.tsv")
