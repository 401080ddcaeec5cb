"""BIDS data sets: what is taken from them, and results that are a BIDS derivative."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import monai_mamba
from monai_mamba.data.bids import describe_derivatives
from monai_mamba.data.scans import RESULTS, find_scans
from monai_mamba.errors import InputError, OutputError
from monai_mamba.labels import LabelTable


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.ones((8, 8, 8), dtype=np.float32), np.eye(4)), root / name)


def describe(root: Path, **entries: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "Heads", "BIDSVersion": "1.10.0", **entries}))


def outputs(root: Path) -> list[str]:
    return [
        os.path.relpath(scan["output"], root / "out")
        for scan in find_scans(str(root / "in"), str(root / "out"), "subcortical")
    ]


def test_only_t1_weighted_scans_in_their_places_are_taken(tmp_path):
    describe(tmp_path / "in")
    raw = tmp_path / "in"
    make(raw, "sub-02/ses-b/anat/sub-02_ses-b_acq-x_run-1_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii")
    make(raw, "sub-01/anat/sub-01_T2w.nii.gz", "sub-01/func/sub-01_task-rest_bold.nii.gz", "scan_T1w.nii.gz")
    make(raw, "sub-01/anat/.12.tmp.sub-01_T1w.nii.gz", "sourcedata/sub-01/anat/sub-01_T1w.nii.gz")
    make(raw, "derivatives/other/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz", "sub-01/extra/anat/sub-01_T1w.nii.gz")
    (raw / "sub-03" / "anat").mkdir(parents=True)
    (raw / "sub-03" / "anat" / "sub-03_T1w.nii.gz").symlink_to(tmp_path / "absent.nii.gz")  # DataLad: not fetched yet
    assert outputs(tmp_path) == [
        "sub-01/anat/sub-01_desc-subcortical",
        "sub-02/ses-b/anat/sub-02_ses-b_acq-x_run-1_desc-subcortical",
        "sub-03/anat/sub-03_desc-subcortical",
    ]
    assert "a link to" in find_scans(str(raw), str(tmp_path / "out"), "subcortical")[2]["problem"]


def test_of_parts_and_echoes_one_is_taken_and_every_run_and_acquisition(tmp_path, caplog):
    raw = tmp_path / "in"
    describe(raw)
    names = ["part-mag", "part-phase", "part-real", "part-imag", "run-1", "run-2", "acq-x_echo-2", "acq-x_echo-10"]
    make(raw, *(f"sub-1/anat/sub-1_{name}_T1w.nii.gz" for name in names))
    taken = [f"sub-1/anat/sub-1_{name}_desc-subcortical" for name in ("acq-x_echo-2", "part-mag", "run-1", "run-2")]
    with caplog.at_level("INFO", "monai_mamba"):
        assert outputs(tmp_path) == taken
    assert "phase, real or imaginary part (3: " in caplog.text
    assert "later echo (1: " in caplog.text
    (raw / "dataset_description.json").unlink()
    assert outputs(tmp_path) == taken


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (["sub-02/"], [1, 3]),
        (["# sub-01", "", "*_acq-bad_*"], [1, 2]),
        (["/sub-0[1]", "sub-*/**/sub-02_*"], [1, 3]),
        (["**/anat/*", "!sub-01/"], [1]),
        (["sub-0?", "!sub-03"], [3]),
        (["anat"], []),
        (["sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz/"], [2, 3]),
    ],
)
def test_bidsignore_is_respected(tmp_path, lines, kept):
    raw = tmp_path / "in"
    describe(raw)
    names = ["sub-01/anat/sub-01", "sub-02/ses-1/anat/sub-02", "sub-03/anat/sub-03_acq-bad"]
    make(raw, *(f"{name}_T1w.nii.gz" for name in names))
    (raw / ".bidsignore").write_text("\n".join(lines))
    if not kept:
        with pytest.raises(InputError, match=r"no scan there\. Found named in \.bidsignore \(3: "):
            outputs(tmp_path)
        return
    assert outputs(tmp_path) == [f"{names[number - 1]}_desc-subcortical" for number in kept]


def test_a_data_set_without_t1_weighted_scans_is_refused(tmp_path):
    describe(tmp_path / "in")
    make(tmp_path / "in", "sub-01/anat/sub-01_T2w.nii.gz", "elsewhere_T1w.nii.gz")
    with pytest.raises(InputError, match=r"no T1-weighted scan .* expected sub-\*/"):
        outputs(tmp_path)


def test_a_derivative_is_searched_like_any_folder(tmp_path):
    describe(tmp_path / "in", DatasetType="derivative")
    make(tmp_path / "in", "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz", "deep/er/sub-02_T1w.nii.gz")
    assert outputs(tmp_path) == ["deep/er/sub-02_desc-subcortical", "sub-01/anat/sub-01_desc-preproc_desc-subcortical"]


def test_results_are_described_once(tmp_path):
    raw, out = tmp_path / "in", tmp_path / "out"
    describe(raw, DatasetDOI="doi:10.0/x")
    describe_derivatives(str(raw), str(out), "subcortical", "subcortical")
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["Name"] == "Heads: subcortical labels"
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "monai-mamba"
    assert description["GeneratedBy"][0]["Version"] == monai_mamba.__version__
    assert description["SourceDatasets"] == [{"DOI": "doi:10.0/x"}]
    lines = (out / "desc-subcortical_dseg.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["index", "name", "color"]
    assert lines[1].split("\t") == ["4", "Left-Lateral-Ventricle", "#781286"]  # 120, 18, 134
    assert len(lines) == 1 + len(LabelTable.load("subcortical").structures)
    assert json.loads((out / "desc-subcortical_dseg.json").read_text())["SpatialReference"] == "orig"
    ignored = ["*_volumes.tsv", "*_picture.png", "*_dseg.mgz", "*_aseg.stats", "cases*.tsv"]
    assert (out / ".bidsignore").read_text().splitlines() == ignored
    assert len(list(out.iterdir())) == 4

    (out / "dataset_description.json").write_text(kept := '{"DatasetType": "derivative"}')
    describe_derivatives(str(raw), str(out), "hippocampus", "hippocampus_head_tail")
    assert (out / "dataset_description.json").read_text() == kept
    assert (out / "desc-hippocampus_dseg.tsv").read_text().splitlines()[1].startswith("1701\tLeft-")


def test_a_validator_finds_no_error(tmp_path):
    validator = shutil.which("bids-validator-deno")
    if validator is None:
        pytest.skip("the validator of BIDS (pip install bids-validator-deno) is not here")
    raw, out = tmp_path / "in", tmp_path / "out"
    describe(raw)
    make(raw, "sub-02/ses-b/anat/sub-02_ses-b_acq-x_run-1_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii")
    for scan in find_scans(str(raw), str(out), "subcortical"):
        make(out, scan["output"] + RESULTS["labels"])
        for kind in ("volumes", "picture"):
            Path(scan["output"] + RESULTS[kind]).touch()
    (out / "cases.tsv").touch()
    describe_derivatives(str(raw), str(out), "subcortical", "subcortical")
    for folder, expected in ((out, set()), (tmp_path, {"MISSING_DATASET_DESCRIPTION"})):
        found = subprocess.run([validator, "--format", "json", folder], capture_output=True, text=True, check=False)
        issues = json.loads(found.stdout)["issues"]["issues"]
        assert expected <= {issue["code"] for issue in issues if issue["severity"] == "error"}
        assert expected or not [issue for issue in issues if issue["severity"] == "error"]


def test_a_damaged_description_does_not_matter(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "dataset_description.json").write_text("{")
    make(tmp_path / "in", "sub-01/anat/sub-01_T1w.nii.gz")
    assert outputs(tmp_path) == ["sub-01/anat/sub-01_desc-subcortical"]
    describe_derivatives(str(tmp_path / "in"), str(tmp_path / "out"), "subcortical", "subcortical")
    assert json.loads((tmp_path / "out" / "dataset_description.json").read_text())["Name"] == "in: subcortical labels"


def test_other_inputs_are_not_described(tmp_path, caplog):
    raw = tmp_path / "in"
    make(raw, "sub-01/anat/sub-01_T1w.nii.gz")
    for source in (str(raw), str(raw / "sub-*" / "anat" / "*.nii.gz"), [str(raw)], 12):
        describe_derivatives(source, str(tmp_path / "out"), "subcortical", "subcortical")
    assert not (tmp_path / "out").exists()
    # Nor are results that a user sends into the raw data: they have a description already.
    describe(raw)
    before = sorted(raw.iterdir())
    describe_derivatives(str(raw), str(raw), "subcortical", "subcortical")
    assert sorted(raw.iterdir()) == before
    assert "results should not be written into it" in caplog.text


def test_an_output_folder_that_cannot_be_written(tmp_path):
    describe(tmp_path / "in")
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match="--output_dir"):
        describe_derivatives(str(tmp_path / "in"), str(tmp_path / "out"), "subcortical", "subcortical")
