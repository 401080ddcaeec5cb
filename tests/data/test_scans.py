"""Which scans a run covers."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_mamba.data.content import describe_sources
from monai_mamba.data.image_file import checksum_of
from monai_mamba.data.image_header import IMAGE_SUFFIXES
from monai_mamba.data.scans import RESULTS, find_scans
from monai_mamba.errors import InputError


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if not name.endswith(IMAGE_SUFFIXES):
            (root / name).touch()
            continue
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


def test_one_scan_under_two_names_is_noticed(tmp_path, caplog):
    for name, value in (("a", 1), ("b", 1), ("c", 2)):
        voxels = np.ones((8, 8, 8), dtype=np.float32)
        voxels[0, 0, 0] = value
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / f"{name}.nii")
    a, b, c = find_scans(str(tmp_path), str(tmp_path / "out"), "subcortical")
    assert b.pop("note") == f"{tmp_path / 'b.nii'} is the same file as {tmp_path / 'a.nii'}"
    assert [sorted(scan) for scan in (a, b, c)] == [["image", "output"]] * 3
    assert "a.nii, under another name. Check which name is right." in caplog.text


def test_names_that_are_too_long_for_results_are_refused(tmp_path):
    make(tmp_path, f"in/{'ü' * 105}.nii.gz", "in/a.nii.gz")
    good, bad = find_scans(str(tmp_path / "in"), str(tmp_path / "out"), "subcortical")
    assert "problem" not in good
    assert "would be longer than file systems allow (255 bytes). Rename the file" in bad["problem"]


def test_finished_scans_are_marked_unless_asked_for(tmp_path, caplog):
    make(tmp_path, "in/a.nii.gz", "in/b.nii.gz")
    for ending in reversed(RESULTS.values()):
        assert len(outputs(str(tmp_path / "in"), tmp_path)) == 2
        make(tmp_path, f"out/a_desc-subcortical{ending}")
    with caplog.at_level(logging.INFO, "monai_mamba"):
        assert outputs(str(tmp_path / "in"), tmp_path) == ["b_desc-subcortical"]
    assert "Finished before: 1 of 2, in" in caplog.text
    assert len(outputs(str(tmp_path / "in"), tmp_path, overwrite=True)) == 2


def flip(content: bytes, place: int) -> bytes:
    """Another bit in a byte, such as in the checksum of a compressed file."""
    changed = bytearray(content)
    changed[place] ^= 0x40
    return bytes(changed)


@pytest.mark.parametrize(
    "damage", [lambda content: b"", lambda content: content[:60], lambda content: flip(content, -6)]
)
def test_a_damaged_result_is_made_again(damage, tmp_path, caplog):
    make(tmp_path, "in/a.nii.gz", *(f"out/a_desc-subcortical{ending}" for ending in RESULTS.values()))
    label_map = tmp_path / "out" / f"a_desc-subcortical{RESULTS['labels']}"
    label_map.write_bytes(damage(label_map.read_bytes()))
    assert outputs(str(tmp_path / "in"), tmp_path) == ["a_desc-subcortical"]
    assert caplog.messages[0].startswith(f"{label_map}: ")
    assert caplog.messages[0].endswith("The scan is segmented again.")


def test_results_of_another_scan_are_not_taken_for_those_of_this_one(tmp_path):
    """Two people whose scans have one name and lie on one grid; links and copies elsewhere are the same scan."""
    for person in "xyz":
        scan(tmp_path / person / "a.nii.gz", seed=person == "y")
    make(tmp_path, *(f"out/a_desc-subcortical{ending}" for ending in RESULTS.values()))
    labels = nib.load(tmp_path / "x" / "a.nii.gz")
    labels.header["descrip"] = describe_sources(checksum_of((tmp_path / "x" / "a.nii.gz").read_bytes()))
    nib.save(labels, tmp_path / "out" / f"a_desc-subcortical{RESULTS['labels']}")
    assert outputs(str(tmp_path / "x" / "a.nii.gz"), tmp_path) == []
    assert outputs(str(tmp_path / "z" / "a.nii.gz"), tmp_path) == []
    with pytest.raises(InputError, match=r"y/a\.nii\.gz: .*_dseg\.nii\.gz is there and was made from other files"):
        outputs(str(tmp_path / "y" / "a.nii.gz"), tmp_path)
    assert len(outputs(str(tmp_path / "y" / "a.nii.gz"), tmp_path, overwrite=True)) == 1


def test_results_that_do_not_say_what_they_are_of_must_lie_on_the_grid_of_the_scan(tmp_path):
    for person, place in (("x", 0), ("y", 30)):
        affine = np.eye(4)
        affine[0, 3] = place
        (tmp_path / person).mkdir()
        nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.float32), affine), tmp_path / person / "a.nii.gz")
    (tmp_path / "out").mkdir()
    for ending in RESULTS.values():
        (tmp_path / "out" / f"a_desc-subcortical{ending}").write_bytes((tmp_path / "x" / "a.nii.gz").read_bytes())
    assert outputs(str(tmp_path / "x" / "a.nii.gz"), tmp_path) == []
    with pytest.raises(InputError, match=r"y/a\.nii\.gz: .*_dseg\.nii\.gz is there and was made from other files"):
        outputs(str(tmp_path / "y" / "a.nii.gz"), tmp_path)
    assert len(outputs(str(tmp_path / "y" / "a.nii.gz"), tmp_path, overwrite=True)) == 1


def test_one_bad_header_is_noted_and_only_bad_ones_are_an_error(tmp_path):
    make(tmp_path, "in/a.nii.gz")
    (tmp_path / "in/b.nii").touch()
    scans = find_scans(str(tmp_path / "in"), str(tmp_path / "out"), "subcortical")
    assert "problem" not in scans[0]
    assert "empty (0 bytes)" in scans[1]["problem"]
    with pytest.raises(InputError, match="empty"):
        find_scans(str(tmp_path / "in/b.nii"), str(tmp_path / "out"), "subcortical")
    # Where the others are finished, the run goes on to its table.
    make(tmp_path, *(f"out/a_desc-subcortical{ending}" for ending in RESULTS.values()))
    finished, broken = find_scans(str(tmp_path / "in"), str(tmp_path / "out"), "subcortical")
    assert finished["finished"]
    assert "empty (0 bytes)" in broken["problem"]


def test_names_with_blanks_brackets_and_accents(tmp_path):
    make(tmp_path, "in dir [1]/Zoë.scan 1.nii.gz")
    path = tmp_path / "in dir [1]" / "Zoë.scan 1.nii.gz"
    assert outputs(str(path), tmp_path) == outputs(str(path.parent), tmp_path) == ["Zoë.scan 1_desc-subcortical"]


def test_images_of_other_formats_are_listed(tmp_path, caplog):
    make(tmp_path, "in/a.nii.gz", "in/b.hdr", "in/b.img", "in/c.mnc")
    with caplog.at_level(logging.INFO, "monai_mamba"):
        assert outputs(str(tmp_path / "in"), tmp_path) == ["a_desc-subcortical"]
    assert f"format that is not read (3: {tmp_path / 'in/b.hdr'}, " in caplog.text
    (tmp_path / "in/a.nii.gz").unlink()
    with pytest.raises(InputError, match=r"no image in this folder .* Found format that is not read \(3: .*dcm2niix"):
        outputs(str(tmp_path / "in"), tmp_path)


def test_a_folder_of_compressed_dicom_files_says_what_it_holds(tmp_path):
    make(tmp_path, "in/1.dcm.gz", "in/2.dcm.gz")
    with pytest.raises(InputError, match=r"no image in this folder .* Found format that is not read \(2: .*1\.dcm\.gz"):
        outputs(str(tmp_path / "in"), tmp_path)


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


def labels(path: Path, kind: type = nib.Nifti1Image, dtype: str = "uint8") -> Path:
    """A label map of two structures; as floating-point numbers too."""
    ids = np.zeros((20, 24, 22), dtype)
    ids[2:18, 2:12, 2:20], ids[2:18, 12:22, 2:20] = 17, 53
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(kind(ids, np.eye(4)), path)
    return path


def scan(path: Path, seed: int = 0) -> Path:
    """A noisy ball in the whole numbers of an 8-bit scan."""
    kind = nib.MGHImage if path.suffix == ".mgz" else nib.Nifti1Image
    index = np.moveaxis(np.indices((20, 24, 22)), 0, -1) - (10, 12, 11)
    gray = np.random.default_rng(seed).normal(100, 10, index.shape[:3])
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(kind(np.where((index**2).sum(-1) < 81, gray, 0).astype(np.uint8), np.eye(4)), path)
    return path


@pytest.mark.parametrize(
    "rounded",
    [lambda ids: ids * (1 + 1.2e-7), lambda ids: np.float32(ids) / np.float32(3) * np.float32(3)],
    ids=["float64", "float32"],
)
def test_label_maps_that_arithmetic_has_rounded_are_no_scans(tmp_path, rounded):
    values = rounded(nib.load(labels(tmp_path / "a.nii.gz", dtype="int32")).get_fdata())
    nib.save(nib.Nifti1Image(values * (1 + 1e-7 * (values == 17)), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="label map by its voxels"):
        outputs(str(tmp_path / "a.nii.gz"), tmp_path)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_label_maps_of_any_name_are_left_out_and_listed(tmp_path, caplog, dtype):
    scan(tmp_path / "in/a.nii.gz")
    labels(tmp_path / "in/b.nii.gz", dtype=dtype)
    mask = nib.load(tmp_path / "in/b.nii.gz").get_fdata() > 0
    nib.save(nib.Nifti1Image(mask.astype(dtype), np.eye(4)), tmp_path / "in/T1.nii.gz")
    with caplog.at_level(logging.INFO, "monai_mamba"):
        assert outputs(str(tmp_path / "in"), tmp_path) == ["a_desc-subcortical"]
    assert f"label map by its voxels (2: {tmp_path / 'in/T1.nii.gz'}, {tmp_path / 'in/b.nii.gz'})" in caplog.text
    assert outputs(str(tmp_path / "in/*.nii.gz"), tmp_path) == ["a_desc-subcortical"]
    with pytest.raises(InputError, match=r"b\.nii\.gz: label map by its voxels, not a scan\. Expected the gray values"):
        outputs(str(tmp_path / "in/b.nii.gz"), tmp_path)
    (tmp_path / "in/a.nii.gz").unlink()
    with pytest.raises(InputError, match=r"in: no scan there\. Found label map by its voxels \(2: "):
        outputs(str(tmp_path / "in"), tmp_path)


def test_labels_far_from_the_middle_are_found(tmp_path):
    ids = np.zeros((20, 24, 30), np.uint8)
    ids[4:8, 4:8, 1:4] = 1
    nib.save(nib.Nifti1Image(ids, np.eye(4)), tmp_path / "lesion.nii.gz")
    with pytest.raises(InputError, match="label map"):
        outputs(str(tmp_path / "lesion.nii.gz"), tmp_path)


def freesurfer(subject: Path, *volumes: str) -> None:
    for name in volumes:
        scan(subject / "mri" / f"{name}.mgz")
    for name in ("aseg", "wmparc", "ribbon"):
        labels(subject / "mri" / f"{name}.mgz", nib.MGHImage, "int32")
    scan(subject / "mri" / "brainmask.mgz")
    scan(subject / "mri" / "orig" / "001.mgz")
    (subject / "surf").mkdir()
    nib.save(nib.MGHImage(np.ones((500, 1, 1), np.float32), np.eye(4)), subject / "surf" / "lh.thickness.mgh")


def test_a_freesurfer_subject_is_one_scan(tmp_path, caplog):
    freesurfer(tmp_path / "subjects/bert", "orig", "T1", "nu", "norm", "brain")
    freesurfer(tmp_path / "subjects/site 2/ernie", "norm", "brain", "T1")
    freesurfer(tmp_path / "subjects/fsaverage", "orig", "T1")
    with caplog.at_level(logging.INFO, "monai_mamba"):
        scans = find_scans(str(tmp_path / "subjects"), str(tmp_path / "out"), "subcortical")
    assert [os.path.relpath(item["image"], tmp_path / "subjects") for item in scans] == [
        "bert/mri/orig.mgz",
        "site 2/ernie/mri/T1.mgz",
    ]
    assert [os.path.relpath(item["output"], tmp_path / "out") for item in scans] == [
        "bert_desc-subcortical",
        "site 2/ernie_desc-subcortical",
    ]
    assert not any("problem" in item for item in scans)
    assert caplog.text.count("Not taken from") == 1
    assert "beside the scan of a FreeSurfer subject (18: " in caplog.text
    assert "in a template of FreeSurfer" in caplog.text
    for place in ("subjects/bert", "subjects/bert/mri", "subjects/bert/mri/orig.mgz"):
        assert outputs(str(tmp_path / place), tmp_path) == ["bert_desc-subcortical"]
    assert outputs(str(tmp_path / "subjects/*/mri/*.mgz"), tmp_path) == ["bert_desc-subcortical"]


def test_values_on_surfaces_are_no_scans(tmp_path, caplog):
    scan(tmp_path / "in/a.nii.gz")
    nib.save(nib.MGHImage(np.ones((500, 1, 1), np.float32), np.eye(4)), tmp_path / "in/lh.area.mgh")
    axes = nib.cifti2.ScalarAxis(["x"]), nib.cifti2.BrainModelAxis.from_mask(np.ones(40), "cortex_left")
    nib.save(nib.Cifti2Image(np.ones((1, 40), np.float32), axes), tmp_path / "in/sub.dscalar.nii")
    with caplog.at_level(logging.INFO, "monai_mamba"):
        assert outputs(str(tmp_path / "in"), tmp_path) == ["a_desc-subcortical"]
    assert "values on a surface by its shape (2: " in caplog.text
