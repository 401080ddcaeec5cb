"""Finding results and the scans they were made from."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from head_phantom import LEFT
from monai.data import MetaTensor

from monai_mamba.data.content import describe_sources
from monai_mamba.data.scans import RESULTS
from monai_mamba.errors import InputError
from monai_mamba.handlers import TumorResultSaver
from monai_mamba.labels import RegionTable
from monai_mamba.report.page import write_report
from monai_mamba.report.results import find_results, find_sources


def test_what_a_bundle_writes_is_read(study):
    (result,), problems = find_results(study / "results")
    assert not problems
    assert (result.name, result.title) == ("sub-01/sub-01_desc-subcortical", "sub-01/sub-01")
    assert (result.task, result.regions) == ("subcortical", False)
    labels = np.asarray(nib.load(result.path("labels")).dataobj)
    left = next(volume for volume in result.volumes if volume.ids == (LEFT,))
    assert left.mm3 == (labels == LEFT).sum() > 0
    assert left.expected_dsc == 0.9
    assert next(volume for volume in result.volumes if volume.mm3 == 0).expected_dsc is None
    assert set(result.table.ids) >= {number for volume in result.volumes for number in volume.ids}


@pytest.mark.parametrize("given", ["scans", "scans/*/*.nii.gz", "scans/sub-01/sub-01_T1w.nii.gz"])
@pytest.mark.parametrize("folder", ["results", "results/sub-01"])
def test_the_scan_is_found_by_the_name_of_its_results(study, given, folder):
    results, _ = find_results(study / folder)
    (source,) = find_sources(results, study / folder, [str(study / given)]).values()
    assert source.path == str(study / "scans" / "sub-01" / "sub-01_T1w.nii.gz")
    assert source.volume is None


def test_a_name_that_two_scans_have_decides_nothing(study, tmp_path):
    scan = study / "scans" / "sub-01" / "sub-01_T1w.nii.gz"
    for session in "12":
        (tmp_path / session).mkdir()
        shutil.copy(scan, tmp_path / session / scan.name)
    results, _ = find_results(study / "results")
    with pytest.raises(InputError, match="none of the results"):
        find_sources(results, study / "results", [str(tmp_path)])


def test_unusable_results_are_named_and_left_out(study, tmp_path):
    for name in ("good", "unfinished", "words", "doubt", "short", "twice", "foreign"):
        shutil.copytree(study / "results" / "sub-01", tmp_path / name)
    table = f"sub-01_desc-subcortical{RESULTS['volumes']}"
    (tmp_path / "unfinished" / f"sub-01_desc-subcortical{RESULTS['labels']}").unlink()
    rows = (tmp_path / "good" / table).read_text()
    (tmp_path / "words" / table).write_text(rows.replace("\t0.0\t", "\tmany\t", 1))
    (tmp_path / "doubt" / table).write_text(rows.replace("\t0.900\n", "\tnan\n", 1))
    (tmp_path / "short" / table).write_text("id\tname\tmm3\n17\n")
    (tmp_path / "twice" / table).write_text(rows + rows.splitlines()[-1])
    (tmp_path / "foreign" / table).write_text("id\tname\tmm3\n9999\tElsewhere\t1.0\n")
    (tmp_path / "good" / f".12.tmp.{table}").write_text("half")
    results, problems = find_results(tmp_path)
    assert [result.name.split("/")[0] for result in results] == ["good"]
    reasons = {
        "unfinished": "not finished",
        "words": "many",
        "doubt": "DSC nan",
        "short": "cannot be read",
        "twice": "has 2 rows, expected one",
        "foreign": "--table",
    }
    assert len(problems) == len(reasons)
    for name, reason in reasons.items():
        assert [reason for problem in problems if f"/{name}/" in problem and reason in problem], (name, problems)


def test_results_of_other_settings_among_the_rest_are_warned_of(study, tmp_path, caplog):
    for name, settings in (("a", "11aa22bb"), ("b", "11aa22bb"), ("c", None), ("d", "33cc44dd")):
        shutil.copytree(study / "results" / "sub-01", tmp_path / name)
        path = tmp_path / name / f"sub-01_desc-subcortical{RESULTS['labels']}"
        image = nib.load(path)
        image.header["descrip"] = describe_sources("0123abcd", settings)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), path)
        find_results(tmp_path)
        said = "subcortical: 1 of 3 results were made with other weights or options than the rest, first d/sub-01_desc"
        assert (said in caplog.text) == (name == "d")
    write_report(tmp_path, tmp_path / "report.html")
    assert said in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(InputError, match="output_dir"):
        find_results(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        find_results(tmp_path / "absent")


def test_results_with_a_table_of_the_user(study, tmp_path):
    table = tmp_path / "mine.tsv"
    head = "index\tid\tname\tred\tgreen\tblue\talpha\twritten\n"
    table.write_text(head + "0\t0\tBackground\t0\t0\t0\t0\t1\n1\t9999\tElsewhere\t9\t8\t7\t255\t1\n")
    folder = tmp_path / "results"
    shutil.copytree(study / "results" / "sub-01", folder)
    volumes = folder / f"sub-01_desc-subcortical{RESULTS['volumes']}"
    volumes.write_text("id\tname\tvoxels\tmm3\tmm3_soft\n9999\tElsewhere\t1\t1.0\t2.0\n")
    (result,), _ = find_results(folder, str(table))
    assert result.table.names == ("Background", "Elsewhere")


def test_tumor_results_and_the_modality_that_their_picture_shows(tmp_path):
    scan = tmp_path / "cases" / "case.nii.gz"
    scan.parent.mkdir()
    nib.save(nib.Nifti1Image(np.ones((20, 20, 20, 4), np.float32), np.diag([2.0, 2.0, 2.0, 1.0])), scan)
    labels = np.zeros((20, 20, 20), np.uint8)
    edema = RegionTable.load("brats2021").labels.structures[1].id
    labels[5:10, 5:10, 5:10] = edema
    saver = TumorResultSaver("brats2021")
    meta = {"filename_or_obj": str(scan), "volume": 0, "modalities": "FLAIR+T1+T2", "doubts": "d"}
    saver.save(MetaTensor(torch.from_numpy(labels)[None], meta=meta), str(tmp_path / "results" / "case_desc-tumor"))
    (result,), problems = find_results(tmp_path / "results")
    assert not problems
    assert result.regions
    assert result.table == RegionTable.load("brats2021").labels
    assert {volume.name: volume.mm3 for volume in result.volumes}["Whole tumor (WT)"] == 1000.0
    assert result.quality == (
        "look", "d; 1 of 6 structures are unusual: Enhancing tumor (ET) (not found, without T1ce)"
    )  # fmt: skip
    (source,) = find_sources([result], tmp_path / "results", [str(scan)]).values()
    assert (source.path, source.volume) == (str(scan), 0)
    empty = tmp_path / "empty"
    empty.mkdir()
    (source,) = find_sources([result], tmp_path / "results", [str(empty), str(scan.parent)]).values()
    assert source.path == str(scan)
