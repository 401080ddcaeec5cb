"""A run from a DICOM folder to its results."""

from __future__ import annotations

import gzip
import logging

import nibabel as nib
import numpy as np
from dicom_phantom import IDENTITY, NAME, write_series
from head_phantom import centered_affine, make_head
from test_malformed import SHAPE, options, results, run

__all__ = ["options"]  # a fixture


def test_a_dicom_folder_gives_the_right_labels_and_nothing_names_the_patient(tmp_path, options, caplog):
    affine = centered_affine(SHAPE, np.diag([-1.0, 1, 1]))
    image, truth = make_head(SHAPE, affine)
    write_series(tmp_path / "in" / "scan", image.astype(np.int16), affine)
    with caplog.at_level(logging.INFO):
        run(tmp_path / "in", options)
    found = nib.load(tmp_path / "out" / "scan_series-3_desc-subcortical_dseg.nii.gz")
    expected = nib.as_closest_canonical(nib.Nifti1Image(truth, affine))
    np.testing.assert_allclose(nib.as_closest_canonical(found).affine, expected.affine, atol=1e-4)
    labels, expected = (np.asarray(nib.as_closest_canonical(item).dataobj).copy() for item in (found, expected))
    labels[-1, 0, 0] = 0  # the air of the phantom
    np.testing.assert_array_equal(labels, expected)
    files = results(tmp_path)
    assert len(files) == 3
    contents = [path.read_bytes() for path in files]
    text = b"".join(gzip.decompress(part) if part.startswith(b"\x1f\x8b") else part for part in contents)
    text += "".join(map(str, files)).encode() + caplog.text.encode()
    for word in (*NAME.split("^"), IDENTITY):
        assert word.encode() not in text
