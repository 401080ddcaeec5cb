"""Results shared by the tests of the report."""

from __future__ import annotations

from pathlib import Path

import pytest
from head_phantom import LEFT, RIGHT
from results_phantom import copy_results, save_results, save_scan, usual_volumes


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scan, `scans/sub-01/sub-01_T1w.nii.gz`, and its `results`; not to be written to."""
    root = tmp_path_factory.mktemp("study")
    scan = root / "scans" / "sub-01" / "sub-01_T1w.nii.gz"
    save_results(scan, save_scan(scan), root / "results" / "sub-01" / "sub-01_desc-subcortical")
    return root


@pytest.fixture(scope="session")
def cohort(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of 24 scans that differ little, but 7 has a small left structure, 11 none, and of 15 nobody is sure."""
    root = tmp_path_factory.mktemp("cohort")
    for number in range(24):
        size = 1 + 0.02 * ((5 * number) % 24 - 12) / 12
        left = {7: 0.5, 11: 0.0}.get(number, 1.0)
        volumes = {LEFT: 4000 * size * left, RIGHT: 4100 * (2 - size)}
        output = root / f"sub-{number:02d}" / f"sub-{number:02d}_desc-subcortical"
        expected_dsc = 0.5 if number == 15 else 0.85 + 0.05 * size
        copy_results(study / "results" / "sub-01" / "sub-01_desc-subcortical", output, volumes, expected_dsc)
    return root


@pytest.fixture(scope="session")
def many(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of 200 scans of usual volumes."""
    root = tmp_path_factory.mktemp("many")
    usual = usual_volumes()
    for number in range(200):
        copy_results(
            study / "results" / "sub-01" / "sub-01_desc-subcortical", root / f"{number:03d}_desc-subcortical", usual
        )
    return root
