"""Discovery, checks and split of image and label pairs, on files made for each test."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_mamba.data.pairs import find_pairs, split_pairs
from monai_mamba.errors import InputError


def write(path: Path, shape: tuple[int, ...] = (8, 9, 10), affine: np.ndarray | None = None, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = nib.MGHImage if path.suffix == ".mgz" else nib.Nifti1Image
    nib.save(kind(np.full(shape, value, dtype=np.uint8), np.eye(4) if affine is None else affine), path)
    return path


def test_finds_bids_like_pairs_in_subfolders(tmp_path):
    for name in ("sub-02/anat/sub-02_ses-1", "sub-01/anat/sub-01"):
        write(tmp_path / f"{name}_T1w.nii.gz")
        write(tmp_path / f"{name}_desc-aseg_dseg.mgz")
    write(tmp_path / "sub-01/anat/sub-01_T2w.nii.gz")
    (tmp_path / "sub-01/anat/._sub-01_T1w.nii.gz").write_bytes(b"resource fork")
    pairs = find_pairs(tmp_path)
    assert [pair["subject"] for pair in pairs] == ["sub-01/anat/sub-01", "sub-02/anat/sub-02_ses-1"]
    assert Path(pairs[0]["image"]).name == "sub-01_T1w.nii.gz"
    assert Path(pairs[0]["label"]).name == "sub-01_desc-aseg_dseg.mgz"


def test_a_scan_of_two_subjects_is_warned_of(tmp_path, caplog):
    for name in ("sub-1", "sub-2"):
        write(tmp_path / f"{name}_T1w.nii")
        write(tmp_path / f"{name}_desc-aseg_dseg.nii")
    assert len(find_pairs(tmp_path)) == 2
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path / 'sub-2_T1w.nii'} is the same file as {tmp_path / 'sub-1_T1w.nii'}.")


def test_a_label_map_of_two_scans_is_warned_of(tmp_path, caplog):
    """Such as a raw head and its stripped brain, which are called two people."""
    for number, name in enumerate(("01", "01brain")):
        write(tmp_path / f"{name}_T1w.nii", value=number)
        write(tmp_path / f"{name}_desc-aseg_dseg.nii")
    find_pairs(tmp_path)
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path / '01brain_desc-aseg_dseg.nii'} is the same file as {tmp_path / '01_desc-'}")


def test_links_to_subjects_are_followed(tmp_path):
    for ending in ("_T1w", "_desc-aseg_dseg"):
        write(tmp_path / "store" / f"sub-01{ending}.nii.gz")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "sub-01").symlink_to(tmp_path / "store")
    assert [pair["subject"] for pair in find_pairs(tmp_path / "in")] == ["sub-01/sub-01"]


@pytest.mark.parametrize("channel", ["", "_0000"])
def test_finds_decathlon_pairs(tmp_path, channel):
    for name in ("brain_2", "brain_1"):
        write(tmp_path / "imagesTr" / f"{name}{channel}.nii.gz")
        write(tmp_path / "labelsTr" / f"{name}.nii.gz")
    assert [pair["subject"] for pair in find_pairs(tmp_path)] == ["brain_1", "brain_2"]


@pytest.mark.parametrize("name", ["nothing_here", "."])
def test_no_folder_or_no_pair(tmp_path, name):
    write(tmp_path / "scan.nii.gz")
    with pytest.raises(InputError, match=r"there is no such folder|no image and no label map found\. Expected"):
        find_pairs(tmp_path / name)


@pytest.mark.parametrize(("there", "missing"), [("_T1w", "label map"), ("_desc-aseg_dseg", "image")])
def test_missing_partner_is_named(tmp_path, there, missing):
    for ending in ("_T1w", "_desc-aseg_dseg"):
        write(tmp_path / f"sub-1{ending}.nii.gz")
    write(tmp_path / f"sub-2{there}.nii.gz")
    with pytest.raises(InputError, match=rf"sub-2{there}\.nii\.gz: .* has no {missing} \(1 of 2"):
        find_pairs(tmp_path)


def test_different_shapes_are_refused(tmp_path):
    write(tmp_path / "sub-1_T1w.nii.gz")
    write(tmp_path / "sub-1_desc-aseg_dseg.nii.gz", shape=(8, 9, 11))
    with pytest.raises(InputError, match=r"dseg.*\(8, 9, 11\) voxels.*\(8, 9, 10\).*Resample"):
        find_pairs(tmp_path)


@pytest.mark.parametrize(("element", "value"), [((0, 3), 0.5), ((2, 2), 1.009)], ids=["shifted", "larger voxels"])
def test_different_places_are_refused(tmp_path, element, value):
    moved = np.eye(4)
    moved[element] = value
    write(tmp_path / "sub-1_T1w.nii.gz")
    write(tmp_path / "sub-1_desc-aseg_dseg.nii.gz", affine=moved)
    with pytest.raises(InputError, match="another position"):
        find_pairs(tmp_path)


def test_affines_that_differ_by_rounding_are_one_grid(tmp_path):
    write(tmp_path / "sub-1_T1w.nii.gz")
    write(tmp_path / "sub-1_desc-aseg_dseg.nii.gz", affine=np.eye(4) * (1 + 1e-5))
    assert len(find_pairs(tmp_path)) == 1


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "is empty"),
        ("truncated", "truncated"),
        ("damaged", "not a readable"),
        ("series", "a series of 2 volumes"),
    ],
)
def test_files_that_cannot_be_used_are_named_before_voxels_are_read(tmp_path, kind, message):
    write(tmp_path / "sub-1_T1w.nii.gz")
    label = write(tmp_path / "sub-1_desc-aseg_dseg.nii.gz", shape=(8, 9, 10, 2) if kind == "series" else (8, 9, 10))
    if kind == "truncated":
        noise = np.random.default_rng(0).integers(0, 255, (8, 9, 10), dtype=np.uint8)
        nib.save(nib.Nifti1Image(noise, np.eye(4)), label)
    content = label.read_bytes()
    if kind != "series":
        label.write_bytes({"empty": b"", "truncated": content[:-12], "damaged": content[:12] + b"\xff" * 60}[kind])
    with pytest.raises(InputError, match=rf"dseg\.nii\.gz: .*{message}"):
        find_pairs(tmp_path)


def test_same_name_with_two_suffixes_is_refused(tmp_path):
    for suffix in (".nii", ".nii.gz"):
        write(tmp_path / f"sub-1_T1w{suffix}")
    with pytest.raises(InputError, match="same name with another suffix"):
        find_pairs(tmp_path)


def make_pairs(*subjects: str) -> list[dict[str, str]]:
    return [{"image": f"{name}.nii", "label": f"{name}_l.nii", "subject": name} for name in subjects]


def test_split_keeps_the_scans_of_a_person_together():
    pairs = make_pairs(*(f"sub-{person}/ses-{session}/x" for person in range(10) for session in range(3)))
    train, val = split_pairs(pairs, 0.3)
    persons = [{pair["subject"].split("/")[0] for pair in part} for part in (train, val)]
    assert len(persons[1]) == 3
    assert not persons[0] & persons[1]
    assert len(train) + len(val) == len(pairs)


def test_split_does_not_depend_on_the_order():
    pairs = make_pairs(*(f"case_{number}" for number in range(8)))
    first, second = split_pairs(pairs, 0.25), split_pairs(pairs[::-1], 0.25)
    assert [sorted(pair["subject"] for pair in part) for part in first] == [
        sorted(pair["subject"] for pair in part) for part in second
    ]


def test_split_leaves_something_to_train_and_to_validate():
    for fraction in (0.01, 0.99):
        train, val = split_pairs(make_pairs("a", "b"), fraction)
        assert len(train) == len(val) == 1


def test_split_of_one_person_warns():
    with pytest.warns(UserWarning, match="one person"):
        train, val = split_pairs(make_pairs("sub-1/ses-1", "sub-1/ses-2"), 0.2)
    assert train == val


def test_split_refuses_impossible_fractions():
    with pytest.raises(InputError, match=r"val_fraction is 1\.5"):
        split_pairs(make_pairs("a", "b"), 1.5)
