"""Label maps whose values are no whole numbers: by their scale, which is undone, or because they are none."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from test_integrity import READERS, inputs, preprocessing

from monai_mamba.data.label_values import read_label_ids
from monai_mamba.errors import InputError, MonaiMambaError

LARGEST = 2035  # of aparc+aseg: stored in 16 bits, one step is worth 2035 / 65535, and 17 becomes 16.9855
LABELS = {name: where for name, where in READERS.items() if where[2] != "image"}


def rescaled(path: Path, slope: float) -> None:
    """Store the labels of a file as integers of the nearest step of a scale, as a tool does that had them as floats."""
    image = nib.load(path)
    ids = np.asarray(image.dataobj, dtype=float)
    stored = np.rint(ids / slope).astype("<i4")
    content = bytearray(nib.Nifti1Image(stored, image.affine).to_bytes())
    struct.pack_into("<ff", content, 112, slope, 0)
    path.write_bytes(gzip.compress(content))


@pytest.mark.parametrize("case", LABELS)
def test_labels_that_a_scale_has_rounded_are_what_they_were(case, tmp_path):
    bundle, configs, name = LABELS[case]
    entries, path = inputs(tmp_path, bundle, configs, name)
    transforms = preprocessing(bundle, configs, name, tmp_path)
    ids, expected = np.asarray(nib.load(path).dataobj), transforms(dict(entries))[name]
    rescaled(path, LARGEST / 65535)
    values = nib.load(path).get_fdata()
    assert np.any(values != np.rint(values))
    np.testing.assert_array_equal(read_label_ids(path), ids)
    np.testing.assert_array_equal(np.asarray(transforms(dict(entries))[name]), np.asarray(expected))


@pytest.mark.parametrize("case", LABELS)
def test_labels_that_the_scale_does_not_explain_are_refused(case, tmp_path):
    bundle, configs, name = LABELS[case]
    entries, path = inputs(tmp_path, bundle, configs, name)
    image = nib.load(path)
    blurred = np.asarray(image.dataobj, dtype=np.float32) + 0.25 * (np.asarray(image.dataobj) > 0)
    nib.save(nib.Nifti1Image(blurred, image.affine), path)
    rescaled(path, LARGEST / 65535)
    with pytest.raises(RuntimeError) as caught:
        preprocessing(bundle, configs, name, tmp_path)(entries)
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, MonaiMambaError):
        error = error.__cause__
    assert str(error).startswith(f"{path}: its values are not label ids")
    assert "scl_slope = 0.0310521, which does not explain them" in str(error)


def test_a_step_of_more_than_one_label_is_refused(tmp_path):
    """Whole numbers, but no longer those that were written."""
    path = tmp_path / "s.nii.gz"
    nib.save(nib.Nifti1Image(np.arange(1000, dtype=np.int16).reshape(10, 10, 10), np.eye(4)), path)
    rescaled(path, 8.0)
    with pytest.raises(InputError, match=r"scl_slope = 8, which does not explain them\. Save the label map as"):
        read_label_ids(path)
