"""Scans inside a page."""

from __future__ import annotations

import base64
import gzip
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from head_phantom import LEFT, RIGHT

from monai_mamba.data.content import describe_sources
from monai_mamba.data.image_file import checksum_of
from monai_mamba.errors import InputError
from monai_mamba.report import images
from monai_mamba.report.images import embed_picture, embed_scan
from monai_mamba.report.results import Source, find_results


def decode(text: str) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


@pytest.fixture
def result(study):
    return find_results(study / "results")[0][0]


@pytest.fixture
def source(study):
    return Source(str(study / "scans" / "sub-01" / "sub-01_T1w.nii.gz"))


@pytest.mark.parametrize("limit", [images.MAX_VOXELS, 40 * 44 * 42 / 8])
def test_scan_and_labels_lie_where_their_files_do(result, source, limit, monkeypatch):
    monkeypatch.setattr(images, "MAX_VOXELS", limit)
    embedded = embed_scan(result, source)
    original = nib.load(result.path("labels"))
    ids = np.asarray(original.dataobj)
    image, labels = decode(embedded.image), decode(embedded.labels)
    assert image.shape == labels.shape == tuple(-(-size // embedded.step) for size in ids.shape)
    assert (embedded.step > 1) == (limit < ids.size)
    np.testing.assert_array_equal(image.affine, labels.affine)
    channels = np.asarray(labels.dataobj)
    # Each voxel has the label of the place where it is, and the gray of its structure: dark on the left, bright right.
    index = np.stack(np.indices(channels.shape), axis=-1).reshape(-1, 3)
    there = nib.affines.apply_affine(np.linalg.inv(original.affine) @ labels.affine, index).round().astype(int)
    expected = [result.table.index_of_id[number] for number in ids[tuple(there.T)].tolist()]
    np.testing.assert_array_equal(channels.ravel(), expected)
    gray = np.asarray(image.dataobj)
    left, right = (gray[channels == result.table.index_of_id[side]].mean() for side in (LEFT, RIGHT))
    assert 55 < left < 75
    assert right == 255


def test_points_are_inside_their_structures(result, source):
    points = embed_scan(result, source).points
    assert set(points) == {LEFT, RIGHT}
    labels = nib.load(result.path("labels"))
    for number, point in points.items():
        voxel = nib.affines.apply_affine(np.linalg.inv(labels.affine), point).round().astype(int)
        assert np.asarray(labels.dataobj)[tuple(voxel)] == number


def test_what_a_header_says_of_a_person_is_not_in_the_page(result, source):
    assert b"Doe^Jane" in nib.load(source.path).header.binaryblock
    embedded = embed_scan(result, source)
    for text in (embedded.image, embedded.labels):
        assert b"Jane" not in gzip.decompress(base64.b64decode(text))


def test_a_scan_that_the_labels_are_not_of_is_refused(result, source, tmp_path):
    """On the same grid."""
    scan, labels = nib.load(source.path), nib.load(result.path("labels"))
    labels.header["descrip"] = describe_sources(checksum_of(Path(source.path).read_bytes()))
    result = replace(result, output=str(tmp_path / "a"))
    nib.save(labels, result.path("labels"))
    embed_scan(result, source)
    nib.save(nib.Nifti1Image(np.asarray(scan.dataobj) + 1, scan.affine), tmp_path / "other.nii.gz")
    with pytest.raises(InputError, match=r"a_dseg\.nii\.gz: it was made from another file than .*other\.nii\.gz"):
        embed_scan(result, Source(str(tmp_path / "other.nii.gz")))


def test_a_scan_on_another_grid_is_refused(result, source, tmp_path):
    image = nib.load(source.path)
    shifted = image.affine.copy()
    shifted[0, 3] += 3
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), shifted), tmp_path / "x.nii")
    with pytest.raises(InputError, match="another position"):
        embed_scan(result, Source(str(tmp_path / "x.nii")))


def test_a_picture_is_made_smaller_and_a_broken_one_refused(result, tmp_path):
    text = embed_picture(result.path("picture"), 320)
    head, data = text.split(",")
    assert head == "data:image/jpeg;base64"
    assert len(base64.b64decode(data)) < result.path("picture").stat().st_size
    broken = tmp_path / "x.png"
    broken.write_bytes(result.path("picture").read_bytes()[:2000])
    with pytest.raises(InputError, match=r"x\.png"):
        embed_picture(broken, 320)
