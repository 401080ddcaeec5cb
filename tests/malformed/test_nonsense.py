"""What can be read and segmented but is no head: the results say that they are probably wrong."""

from __future__ import annotations

import logging

import numpy as np
from head_phantom import save_head
from test_malformed import SHAPE, failure, options, results, run

from monai_mamba.errors import QualityError

__all__ = ["options"]  # a fixture


def test_results_that_are_probably_wrong_say_so_and_with_strict_end_in_an_error(tmp_path, options, caplog):
    save_head(tmp_path / "s.nii", SHAPE, np.eye(3))
    with caplog.at_level(logging.WARNING, "monai_mamba"):
        run(tmp_path / "s.nii", options)
    assert (
        "the result is probably wrong. 29 of 29 structures are unusual: Left-Lateral-Ventricle (not found)"
        in caplog.text
    )
    written = {path: path.read_bytes() for path in results(tmp_path)}
    error = failure(tmp_path / "s.nii", options | {"strict": True})
    assert isinstance(error, QualityError)
    assert "s.nii: 29 of 29 structures are unusual" in str(error)
    assert {path: path.read_bytes() for path in results(tmp_path)} == written
