"""What can be read and segmented but is no head as the weights know it: the results do not pass for right ones."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from head_phantom import save_head
from test_malformed import CONFIG, SHAPE, failure, options, results, run

from monai_mamba.errors import QualityError

__all__ = ["options"]  # a fixture

SAMPLE = CONFIG.parents[1] / "sample_data" / "sub-0001_T1w.nii.gz"


def like_t2(image: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """Dark is bright in the brain."""
    white = np.percentile(image[brain], 99)
    return nib.Nifti1Image(np.where(brain, (white - image).clip(0), image).astype(np.float32), affine)


def half_a_head(image: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """The field of view ends between the hemispheres."""
    middle = round(np.argwhere(brain)[:, 0].mean())
    return nib.Nifti1Image(image[:middle], affine)


def axes_exchanged(image: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """The header takes up for front."""
    return nib.Nifti1Image(image, affine[:, [0, 2, 1, 3]])


def noise(image: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """No head at all."""
    return nib.Nifti1Image(np.random.default_rng(0).uniform(1, 100, (64, 64, 64)).astype(np.float32), affine)


NONSENSE: dict[str, tuple[Callable[..., nib.Nifti1Image], str]] = {
    "a contrast like that of T2": (like_t2, "structures are unusual"),
    "half a head": (half_a_head, "structures are unusual"),
    "axes exchanged in the header": (axes_exchanged, "structures are unusual"),
    "noise": (noise, "structures are unusual"),
}


@pytest.fixture(scope="session")
def graded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Rows of the table of cases by the name of the nonsense, with the weights that ship."""
    folder = tmp_path_factory.mktemp("nonsense")
    scan, aseg = nib.load(SAMPLE), nib.load(str(SAMPLE).replace("T1w", "desc-aseg_dseg"))
    places = np.argwhere(np.asarray(aseg.dataobj))
    box = tuple(slice(low - 8, high + 8) for low, high in zip(places.min(axis=0), places.max(axis=0), strict=True))
    scan, aseg = scan.slicer[box], aseg.slicer[box]  # two thirds of the windows of the whole head
    image, brain = np.asarray(scan.dataobj).astype(np.float32), np.asarray(aseg.dataobj) > 0
    (folder / "in").mkdir()
    for name, (make, _) in NONSENSE.items():
        nib.save(make(image, brain, scan.affine), folder / "in" / f"{name}_T1w.nii")
    fast = {"mirror": False, "look": False, "overlap": 0}  # the look would be unsure, and windows cover all
    run(folder / "in", {"output_dir": str(folder / "out"), "device": "cpu", "progress": False, **fast})
    with (folder / "out" / "cases.tsv").open(encoding="utf-8", newline="") as file:
        return {Path(row["name"]).name.split("_")[0]: row for row in csv.DictReader(file, delimiter="\t")}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_does_not_pass_for_a_head(name, graded):
    row = graded[name]
    assert row["status"] == "done"
    assert row["quality"] in ("look", "fail")
    assert NONSENSE[name][1] in row["message"]


def test_results_that_are_probably_wrong_say_so_and_with_strict_end_in_an_error(tmp_path, options, caplog):
    save_head(tmp_path / "s.nii", SHAPE, np.eye(3))
    with caplog.at_level(logging.WARNING, "monai_mamba"):
        run(tmp_path / "s.nii", options)
    cut = "cut off by the border of the image, so that volumes are too small: Left-Hippocampus, Right-Hippocampus"
    unusual = "30 of 31 structures are unusual"
    assert f"the result is probably wrong: {cut}; {unusual}: Left-Lateral-Ventricle (not found)" in caplog.text
    written = {path: path.read_bytes() for path in results(tmp_path)}
    error = failure(tmp_path / "s.nii", options | {"strict": True})
    assert isinstance(error, QualityError)
    assert f"s.nii: {cut}; {unusual}" in str(error)
    assert {path: path.read_bytes() for path in results(tmp_path)} == written
