"""Which files make a case."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tumor_phantom import MODALITIES, STYLES, save, save_case

from monai_mamba.data.cases import find_cases, find_labeled_cases
from monai_mamba.data.pairs import split_pairs
from monai_mamba.errors import InputError


def tiny(path: Path, volumes: int = 1, shape: tuple[int, ...] = (8, 8, 8)) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.ones((*shape, volumes) if volumes > 1 else shape, dtype=np.uint8)
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    return str(path)


def outputs(source: object, root: Path) -> dict[str, str]:
    """Present modalities by output path."""
    cases = find_cases(source, str(root / "out"), "tumor")
    return {os.path.relpath(case["output"], root / "out"): case["present"] for case in cases}


ALL = "flair+t1+t1ce+t2"


def test_folders_of_all_styles(tmp_path):
    for style in STYLES:
        for name in MODALITIES:
            case = "sub-1" if style == "bids" else f"case{style}"
            tiny(tmp_path / "in" / case / f"{case}{STYLES[style][name]}.nii.gz")
    tiny(tmp_path / "in" / "case2021" / "case2021_seg.nii.gz")
    tiny(tmp_path / "in" / "one" / "one-t1c.nii")
    found = outputs(str(tmp_path / "in"), tmp_path)
    assert found == {
        "case2021/case2021_desc-tumor": ALL,
        "case2023/case2023_desc-tumor": ALL,
        "one/one_desc-tumor": "t1ce",
        "sub-1/sub-1_desc-tumor": ALL,
    }
    assert outputs(str(tmp_path / "in" / "case2023"), tmp_path) == {"case2023_desc-tumor": ALL}
    assert outputs(str(tmp_path / "in" / "*" / "*-t?[nf].nii.gz"), tmp_path) == {
        "case2023/case2023_desc-tumor": "flair+t1"
    }


def test_files_a_mapping_and_4d_images(tmp_path):
    files = [tiny(tmp_path / f"a_{name}.nii.gz") for name in MODALITIES]
    assert outputs(files, tmp_path) == {"a_desc-tumor": ALL}
    assert outputs(files[2], tmp_path) == {"a_desc-tumor": "t1ce"}
    strange = tiny(tmp_path / "scan_7.nii.gz")
    (case,) = find_cases({"FLAIR": strange}, str(tmp_path / "out"), "tumor")
    assert case["image"] == {"flair": strange}
    tiny(tmp_path / "in" / "x.nii.gz", 4)
    tiny(tmp_path / "in" / "y.nii.gz", 4)
    tiny(tmp_path / "in" / "ignored.nii.gz")
    assert outputs(str(tmp_path / "in"), tmp_path) == {"x_desc-tumor": ALL, "y_desc-tumor": ALL}
    assert outputs(str(tmp_path / "in" / "x.nii.gz"), tmp_path) == {"x_desc-tumor": ALL}


def decathlon(folder: Path, **changes: object) -> Path:
    """A data set in the layout of Task01 of the Medical Segmentation Decathlon."""
    for name in ("BRATS_001", "BRATS_002"):
        tiny(folder / "imagesTr" / f"{name}.nii.gz", 4)
        tiny(folder / "labelsTr" / f"{name}.nii.gz")
    tiny(folder / "imagesTs" / "BRATS_485.nii.gz", 4)
    content = {
        "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
        "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
            for name in ("BRATS_001", "BRATS_002")
        ],
        "test": ["./imagesTs/BRATS_485.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps({**content, **changes}))
    return folder


def test_a_decathlon_datalist(tmp_path):
    folder = decathlon(tmp_path / "in")
    assert outputs(str(folder), tmp_path) == {"BRATS_485_desc-tumor": ALL}
    cases = find_labeled_cases(str(folder / "dataset.json"), "brats_msd")
    assert [case["subject"] for case in cases] == ["BRATS_001", "BRATS_002"]
    assert all(Path(case["label"]).is_file() for case in cases)
    # Swapped labels cannot be seen in the values: the names are compared.
    with pytest.raises(InputError, match="label 1 is 'edema', but the convention brats2023 expects edema to be 2"):
        find_labeled_cases(str(folder), "brats2023")


def test_a_datalist_with_files_and_another_order(tmp_path):
    entries = [{"image": ["./a_t2.nii.gz", "./a_x.nii.gz"], "label": "./a_seg.nii.gz"}]
    for name in ("a_t2", "a_x", "a_seg"):
        tiny(tmp_path / f"{name}.nii.gz")
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"channel_names": {"0": "T2", "1": "t1ce"}, "training": entries}))
    (case,) = find_labeled_cases(str(path), "brats2023")
    assert {name: Path(file).name for name, file in case["image"].items()} == {
        "t2": "a_t2.nii.gz",
        "t1ce": "a_x.nii.gz",
    }
    path.write_text(json.dumps({"training": entries}))
    with pytest.raises(InputError, match="the case a has 2 files; expected 4"):
        find_labeled_cases(str(path), "brats2023")
    for text, said in (
        ("[]", "not a datalist"),
        ('{"training": []}', "not a datalist .its list 'training' is empty"),
        ('{"training": [{"image": 5}]}', "not a datalist .an image is 5, not a path or a list of paths"),
        ('{"training": [{"image": {"t1": "a.nii"}}]}', "not a datalist .an image is {'t1': 'a.nii'}, not a path"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=said):
            find_cases(str(path), str(tmp_path / "out"), "tumor")


def test_labeled_cases_know_persons_and_grids(tmp_path):
    for name in ("BraTS-GLI-00001-000", "BraTS-GLI-00001-001", "BraTS-GLI-00002-000"):
        save_case(tmp_path / name, name, "2023", label=True)
    save_case(tmp_path / "unlabeled", "x")
    cases = find_labeled_cases(str(tmp_path), "brats2023")
    assert [case["person"] for case in cases] == ["BraTS-GLI-00001", "BraTS-GLI-00001", "BraTS-GLI-00002"]
    assert len({case["subject"] for case in cases}) == 3
    for part in split_pairs(cases, 0.5):  # both time points of a person are on one side
        assert len({case["person"] for case in part}) == 1
    save(tmp_path / "BraTS-GLI-00002-000" / "BraTS-GLI-00002-000-seg.nii.gz", np.zeros((9, 9, 9), np.uint8))
    with pytest.raises(InputError, match="its grid is"):
        find_labeled_cases(str(tmp_path), "brats2023")
    with pytest.raises(InputError, match="no case with modalities and a label map"):
        find_labeled_cases(str(tmp_path / "unlabeled"), "brats2023")


@pytest.mark.parametrize(("convention", "warned"), [("brats2023", True), ("brats_msd", False)])
def test_edema_within_the_core_is_warned_of(tmp_path, caplog, convention, warned):
    """A case in the convention of the Decathlon, without its `dataset.json`."""
    save_case(tmp_path, "a", label=True, convention={1: 2, 2: 1, 3: 3})
    find_labeled_cases(str(tmp_path), convention)
    said = "label 1 (Necrotic tumor core in brats2023) lies outside of label 2 (Peritumoral edema)"
    assert (said in caplog.text) == warned == ("label_convention" in caplog.text)


def test_predictions_beside_the_scans_are_no_reference(tmp_path):
    save_case(tmp_path / "sub-1" / "anat", "sub-1", "bids")
    (case,) = find_cases(str(tmp_path), str(tmp_path), "tumor")
    Path(case["output"]).parent.mkdir(exist_ok=True)
    tiny(Path(case["output"] + "_dseg.nii.gz"))
    assert len(find_cases(str(tmp_path), str(tmp_path / "out"), "tumor")) == 1
    with pytest.raises(InputError, match="no case with modalities and a label map"):
        find_labeled_cases(str(tmp_path), "brats2023")


def test_finished_cases_are_marked(tmp_path):
    tiny(tmp_path / "a_t1.nii.gz")
    (tmp_path / "out").mkdir()
    tiny(tmp_path / "out" / "a_desc-tumor_dseg.nii.gz")
    for ending in ("_volumes.tsv", "_picture.png"):
        (tmp_path / "out" / f"a_desc-tumor{ending}").touch()
    source = [str(tmp_path / "a_t1.nii.gz")]
    for overwrite in (False, True):
        (case,) = find_cases(source, str(tmp_path / "out"), "tumor", overwrite)
        assert ("finished" in case) != overwrite


LAYOUTS = {
    "folders of all cases": ({"{kind}/{case}.nii.gz"}, ["a_desc-tumor", "b_desc-tumor"]),
    "names that tell the modality too": ({"MR_{kind}/{case}_{kind}.nii.gz"}, ["MR/a_desc-tumor", "MR/b_desc-tumor"]),
    "folders in each case": ({"{case}/{kind}/{kind}.nii.gz"}, ["a/a_desc-tumor", "b/b_desc-tumor"]),
    "names of series": ({"{case}/{kind}/series-{kind}-7.nii.gz"}, ["a/a_desc-tumor", "b/b_desc-tumor"]),
    "folders named as files": (
        {"{case}/{case}_{kind}.nii.gz/00{kind}_x.nii"},
        ["a/a/a_desc-tumor", "b/b/b_desc-tumor"],
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("spelling", [("flair", "t1", "t1ce", "t2"), ("FLAIR", "T1w", "T1Gd", "T2w")])
def test_a_folder_for_each_modality(tmp_path, layout, spelling):
    (pattern,), expected = LAYOUTS[layout]
    for case in ("a", "b"):
        for kind in (*spelling, "seg"):
            tiny(tmp_path / "in" / pattern.format(case=case, kind=kind))
    assert outputs(str(tmp_path / "in"), tmp_path) == dict.fromkeys(expected, ALL)
    assert len(find_labeled_cases(str(tmp_path / "in"), "brats2023")) == 2


def test_folders_whose_names_only_look_like_modalities(tmp_path):
    for point in ("t1", "t2"):  # time points
        for name in ("flair", "t2"):
            tiny(tmp_path / "in" / point / f"a_{name}.nii.gz")
    tiny(tmp_path / "in" / "study_t1" / "b_t1.nii.gz")
    assert outputs(str(tmp_path / "in"), tmp_path) == {
        "study_t1/b_desc-tumor": "t1",
        "t1/a_desc-tumor": "flair+t2",
        "t2/a_desc-tumor": "flair+t2",
    }


def test_folders_of_modalities_without_names_in_common_are_refused(tmp_path):
    for place in ("FLAIR/a", "FLAIR/b", "T1/c"):
        tiny(tmp_path / "in" / f"{place}.nii.gz")
    with pytest.raises(InputError, match="no file of one has the name of a file in another"):
        outputs(str(tmp_path / "in"), tmp_path)
    for place in ("FLAIR/b", "T1/c"):
        (tmp_path / "in" / f"{place}.nii.gz").unlink()
    tiny(tmp_path / "in" / "T1/d.nii.gz")  # one file each, perhaps of two persons
    with pytest.raises(InputError, match="no file of one has the name of a file in another"):
        outputs(str(tmp_path / "in"), tmp_path)


def test_two_cases_of_one_name_are_an_error(tmp_path):
    folder = decathlon(tmp_path / "in", test=["./imagesTs/BRATS_485.nii.gz", "./imagesTr/../imagesTs/BRATS_485.nii.gz"])
    first, second = find_cases(str(folder), str(tmp_path / "out"), "tumor")
    assert "problem" not in first
    assert "its results would get the same name as those of BRATS_485" in second["problem"]
    entries = [{"image": "./imagesTr/BRATS_001.nii.gz", "label": "./labelsTr/BRATS_001.nii.gz"}] * 2
    folder = decathlon(tmp_path / "in", training=entries)
    with pytest.raises(InputError, match="two cases are named BRATS_001"):
        find_labeled_cases(str(folder), "brats_msd")


def test_a_label_map_is_no_modality(tmp_path):
    save_case(tmp_path / "in", "a", only=("flair", "t2"), label=True)
    (tmp_path / "in" / "a_seg.nii.gz").rename(tmp_path / "in" / "a_t1.nii.gz")
    with pytest.raises(InputError, match=r"a_t1\.nii\.gz: label map by its voxels, not a scan, but .* T1"):
        outputs(str(tmp_path / "in"), tmp_path)


def test_bids_cases_leave_out_parts_and_what_is_ignored(tmp_path, caplog):
    raw = tmp_path / "in"
    for case in ("sub-1", "sub-2", "derivatives/x/sub-1"):
        save_case(raw / case / "anat", case.rpartition("/")[2], "bids")
    tiny(raw / "sub-1" / "anat" / "sub-1_part-phase_T1w.nii.gz")
    (raw / "dataset_description.json").write_text('{"Name": "x"}')
    (raw / ".bidsignore").write_text("sub-2/")
    assert outputs(str(raw), tmp_path) == {"sub-1/anat/sub-1_desc-tumor": ALL}
    assert "phase, real or imaginary part (1: " in caplog.text
    assert "named in .bidsignore (4: " in caplog.text


def test_a_labeled_case_of_two_names_is_warned_of(tmp_path, caplog):
    for name in ("a", "b"):
        save_case(tmp_path / name, name, label=True)
    assert len(find_labeled_cases(str(tmp_path), "brats2021")) == 2
    assert [message.split(".nii.gz")[0] for message in caplog.messages] == [str(tmp_path / "b" / "b_flair")]


@pytest.mark.parametrize("source", [{}, []])
def test_no_file_at_all_is_refused(source, tmp_path):
    with pytest.raises(InputError, match="--input names no file; expected 1 to 4, the modalities of one case: FLAIR"):
        find_cases(source, str(tmp_path), "tumor")
