"""Which scans a run covers."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_mamba.data.scans import RESULTS, find_scans
from monai_mamba.errors import InputError


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        kind = nib.MGHImage if name.endswith("z") and not name.endswith("gz") else nib.Nifti1Image
        nib.save(kind(np.ones((8, 8, 8), dtype=np.float32), np.eye(4)), root / name)


def outputs(source: object, root: Path, **options: object) -> list[str]:
    """Results that are to be made, relative to the folder of the results."""
    scans = find_scans(source, str(root / "out"), **{"task": "subcortical", **options})
    return [os.path.relpath(scan["output"], root / "out") for scan in scans if "finished" not in scan]


def test_a_file_a_folder_a_pattern_and_a_list(tmp_path):
    make(tmp_path, "in/a.nii.gz", "in/b/a.nii", "in/b/c.mgz")
    a, deeper = "a_desc-subcortical", ["b/a_desc-subcortical", "b/c_desc-subcortical"]
    assert outputs(str(tmp_path / "in/a.nii.gz"), tmp_path) == [a]
    assert outputs(str(tmp_path / "in"), tmp_path) == [a, *deeper]
    assert outputs(str(tmp_path / "in/*/*.*"), tmp_path) == deeper
    assert outputs(str(tmp_path / "in/**/*.nii*"), tmp_path) == [a, deeper[0]]
    assert outputs([str(tmp_path / "in/a.nii.gz"), str(tmp_path / "in/b")], tmp_path, task="x") == [
        "a_desc-x",
        "a_desc-x",
        "c_desc-x",
    ]


def test_of_a_folder_with_names_of_bids_the_t1_weighted_scans_are_taken(tmp_path):
    make(
        tmp_path, "in/sub-1/anat/sub-1_T1w.nii.gz", "in/sub-1/anat/sub-1_T2w.nii.gz", "in/sub-1/func/sub-1_bold.nii.gz"
    )
    make(tmp_path, "in/sub-1/anat/sub-1_desc-aseg_dseg.nii.gz")
    assert outputs(str(tmp_path / "in"), tmp_path) == ["sub-1/anat/sub-1_desc-subcortical"]


def test_label_maps_and_hidden_files_are_not_scans(tmp_path):
    make(tmp_path, "in/a.nii.gz", "in/a_desc-subcortical_dseg.nii.gz", "in/a_mask.nii.gz", "in/.12.tmp.a.nii.gz")
    assert outputs(str(tmp_path / "in"), tmp_path) == ["a_desc-subcortical"]


def test_two_scans_must_not_share_a_result(tmp_path):
    make(tmp_path, "in/a.nii.gz", "in/a.nii")
    scans = find_scans(str(tmp_path / "in"), str(tmp_path / "out"), "subcortical")
    assert [sorted(scan) for scan in scans] == [["image", "output"], ["image", "output", "problem"]]
    assert "the same name" in scans[1]["problem"]


def test_finished_scans_are_marked_unless_asked_for(tmp_path, caplog):
    make(tmp_path, "in/a.nii.gz", "in/b.nii.gz")
    (tmp_path / "out").mkdir()
    for ending in RESULTS.values():
        assert len(outputs(str(tmp_path / "in"), tmp_path)) == 2
        (tmp_path / "out" / f"a_desc-subcortical{ending}").touch()
    with caplog.at_level(logging.INFO, "monai_mamba"):
        assert outputs(str(tmp_path / "in"), tmp_path) == ["b_desc-subcortical"]
    assert "Finished before: 1 of 2, in" in caplog.text
    assert len(outputs(str(tmp_path / "in"), tmp_path, overwrite=True)) == 2


def test_one_bad_header_is_noted_and_only_bad_ones_are_an_error(tmp_path):
    make(tmp_path, "in/a.nii.gz")
    (tmp_path / "in/b.nii").touch()
    scans = find_scans(str(tmp_path / "in"), str(tmp_path / "out"), "subcortical")
    assert "problem" not in scans[0]
    assert "empty (0 bytes)" in scans[1]["problem"]
    with pytest.raises(InputError, match="empty"):
        find_scans(str(tmp_path / "in/b.nii"), str(tmp_path / "out"), "subcortical")
    # Where the others are finished, the run goes on to its table.
    (tmp_path / "out").mkdir()
    for ending in RESULTS.values():
        (tmp_path / "out" / f"a_desc-subcortical{ending}").touch()
    finished, broken = find_scans(str(tmp_path / "in"), str(tmp_path / "out"), "subcortical")
    assert finished["finished"]
    assert "empty (0 bytes)" in broken["problem"]


def test_names_with_blanks_brackets_and_accents(tmp_path):
    make(tmp_path, "in dir [1]/Zoë.scan 1.nii.gz")
    path = tmp_path / "in dir [1]" / "Zoë.scan 1.nii.gz"
    assert outputs(str(path), tmp_path) == outputs(str(path.parent), tmp_path) == ["Zoë.scan 1_desc-subcortical"]


def test_links_are_followed_once_and_broken_ones_reported(tmp_path):
    make(tmp_path, "store/sub-1/a.nii.gz")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "sub-1").symlink_to(tmp_path / "store" / "sub-1")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "b.nii.gz").symlink_to(tmp_path / "absent.nii.gz")
    broken, good = find_scans(str(tmp_path / "in"), str(tmp_path / "out"), "subcortical")
    assert "a link to" in broken["problem"]
    assert good == {
        "image": str(tmp_path / "in/sub-1/a.nii.gz"),
        "output": str(tmp_path / "out/sub-1/a_desc-subcortical"),
    }


def test_patterns_share_a_data_set_among_the_jobs_of_an_array(tmp_path):
    """The line of docs/many_scans.md: subjects by the last character of their label."""
    make(tmp_path, *(f"in/sub-{label}/anat/sub-{label}_T1w.nii.gz" for label in ("010", "011", "119", "00a", "00B")))
    patterns = [f"in/sub-*{last}/**/anat/*_T1w.nii*" for last in ("[0-4]", "[5-9]", "[!0-9]")]
    parts = [outputs(str(tmp_path / pattern), tmp_path) for pattern in patterns]
    assert [len(part) for part in parts] == [2, 1, 2]
    assert sorted(output for part in parts for output in part) == outputs(str(tmp_path / "in"), tmp_path)
