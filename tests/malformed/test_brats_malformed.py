"""One bad brain tumor case for each way to be wrong: one clear error, and no result."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from tumor_phantom import MODALITIES, SHAPE, TumorNetwork, make_tumor, middle_affine, save, save_case

from monai_mamba.errors import BatchError, MonaiMambaError, as_before, own_error

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "brats_multimodal" / "configs"


def four_volumes(folder: Path, count: int) -> str:
    volumes, _ = make_tumor()
    return save(folder / "all.nii.gz", np.stack([volumes[MODALITIES[index % 4]] for index in range(count)], axis=-1))


def files(folder: Path, *names: str) -> list[str]:
    """T1 images under other names."""
    return [save(folder / f"{name}.nii.gz", make_tumor()[0]["t1"]) for name in names]


def elsewhere(folder: Path) -> str:
    """T2 lies 28 mm beside the other modalities."""
    save_case(folder, "a")
    affine = middle_affine(SHAPE)
    affine[0, 3] += 28
    save(folder / "a_t2.nii.gz", make_tumor()[0]["t2"], affine)
    return str(folder)


def empty(folder: Path, *modalities: str) -> str:
    save_case(folder, "a")
    for name in modalities:
        save(folder / f"a_{name}.nii.gz", np.zeros(SHAPE, dtype=np.int16))
    return str(folder)


def truncated(folder: Path) -> str:
    save_case(folder, "a")
    path = folder / "a_t1ce.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    return str(folder)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "three volumes": (
        lambda folder: four_volumes(folder, 3),
        r"all.nii.gz: 3 volumes in one file; expected 4 volumes, in the order FLAIR, T1, T1ce, T2\. If a modality",
    ),
    "five volumes": (lambda folder: four_volumes(folder, 5), r"5 volumes in one file; expected 4"),
    "one nameless volume": (
        lambda folder: files(folder, "scan")[0],
        r"scan.nii.gz: one volume, and a file name without a modality",
    ),
    "five files": (
        lambda folder: files(folder, "a_t1", "a_t1ce", "a_t2", "a_flair", "a_t1n"),
        r"--input names 5 files; expected 1 to 4, the modalities of one case",
    ),
    "a modality twice": (
        lambda folder: files(folder, "a_t1", "a_t1n"),
        r"a_t1n.nii.gz: .*a_t1.nii.gz is also the modality T1 of the case a; expected one file",
    ),
    "two subjects": (
        lambda folder: files(folder, "sub-1_T1w", "sub-2_T2w"),
        r"belong to different cases: sub-1, sub-2\. Expected the modalities of one case",
    ),
    "names that tell nothing": (
        lambda folder: files(folder, "x", "y"),
        r"x.nii.gz: the file name does not show the modality.*-t2f",
    ),
    "a folder without modalities": (
        lambda folder: str(Path(files(folder, "brain")[0]).parent),
        r"no file in it is a modality of a case.*_flair",
    ),
    "an unknown modality": (
        lambda folder: {"flair": files(folder, "x")[0], "adc": files(folder, "y")[0]},
        r"--input: its channels are flair, adc; expected",
    ),
    "nothing there": (lambda folder: str(folder / "absent"), r"absent: there is no such file or folder"),
    "grids apart": (elsewhere, r"a_t2.nii.gz: only \d+% of the brain in T2 lies in the field of view of FLAIR"),
    "an empty brain": (lambda folder: empty(folder, *MODALITIES), r"a_\w+.nii.gz: every voxel is 0"),
    "an empty modality": (lambda folder: empty(folder, "t1ce"), r"a_t1ce.nii.gz: every voxel is 0"),
    "a truncated modality": (truncated, r"a_t1ce.nii.gz: the file is truncated or damaged"),
}


@pytest.fixture
def weights(tmp_path) -> str:
    torch.save(TumorNetwork().state_dict(), tmp_path / "weights.pt")
    return str(tmp_path / "weights.pt")


def failure(source: object, tmp_path: Path, weights: str, kind: str = "inference.json", **options: object) -> str:
    """The package's own error at the root of what a run raises; nothing may be left in the output folder."""
    hook = sys.excepthook
    inputs = {"dataset_dir" if kind == "train.json" else "input": source, "output_dir": str(tmp_path / "out")}
    common = {"device": "cpu", "progress": False, "pixdim": [1.0] * 3, "roi_size": [32, 32, 64]}
    if kind == "inference.json":
        common |= {"weights": weights, "network_def": {"_target_": "tumor_phantom.TumorNetwork"}}
    workflow = ConfigWorkflow(
        str(CONFIGS / kind), workflow_type="train", logging_file=False, **inputs, **common, **options
    )
    workflow.initialize()
    with pytest.raises(RuntimeError) as caught:
        workflow.run()
    sys.excepthook = hook
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, MonaiMambaError):
        error = error.__cause__ or error.__context__
    assert error is not None, caught.value
    assert not isinstance(error, BatchError)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []
    return str(error)


def folder_run(tmp_path: Path, weights: str, **options: object) -> ConfigWorkflow:
    """Inference on the cases in the folder `in`."""
    return ConfigWorkflow(
        str(CONFIGS / "inference.json"),
        workflow_type="infer",
        logging_file=False,
        input=str(tmp_path / "in"),
        output_dir=str(tmp_path / "out"),
        weights=weights,
        device="cpu",
        progress=False,
        pixdim=[1.0] * 3,
        roi_size=[32] * 3,
        network_def={"_target_": "tumor_phantom.TumorNetwork"},
        **options,
    )


@pytest.mark.parametrize("case", BAD)
def test_a_bad_case_is_refused(case, tmp_path, weights):
    make, message = BAD[case]
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(failure(make(tmp_path / "in"), tmp_path, weights))


def test_a_bad_case_does_not_stop_the_others(tmp_path, weights):
    save_case(tmp_path / "in" / "good", "good")
    empty(tmp_path / "in" / "bad", "t1")
    workflow = folder_run(tmp_path, weights)
    workflow.initialize()
    hook = sys.excepthook
    with pytest.raises(RuntimeError) as caught:
        workflow.run()
    sys.excepthook = hook
    assert isinstance(caught.value.__cause__, BatchError)
    assert "1 of 2 scans failed" in str(caught.value.__cause__)
    assert len(list((tmp_path / "out").rglob("good_desc-tumor_*"))) == 3
    assert not list((tmp_path / "out").rglob("a_desc-tumor_*"))


def test_results_without_a_modality_that_has_come_since_are_not_taken_for_finished(tmp_path, weights):
    def run(**options: object) -> None:
        workflow = folder_run(tmp_path, weights, **options)
        with as_before():
            workflow.initialize()
            workflow.run()

    save_case(tmp_path / "in", "a", only=("flair", "t1", "t2"))
    run()
    run()
    table = tmp_path / "out" / "a_desc-tumor_volumes.tsv"
    before = table.read_text()
    save_case(tmp_path / "in", "a")
    with pytest.raises(RuntimeError) as caught:
        run()
    error = own_error(caught.value)
    assert str(error).startswith("a: ")
    assert "a_desc-tumor_dseg.nii.gz is there and was made from other files, or from these before" in str(error)
    assert table.read_text() == before
    run(overwrite=True)
    assert "FLAIR+T1+T1ce+T2" in table.read_text()


def test_unexpected_labels_stop_a_training(tmp_path, weights):
    folder = tmp_path / "in"
    save_case(folder, "a", label=True, convention={1: 1, 2: 2, 3: 4})
    message = failure(str(folder), tmp_path, weights, "train.json", num_workers=0, epochs=1)
    assert "a_seg.nii.gz: its values are 0, 1, 2, 4; expected 0, 1, 2, 3" in message
    assert "They are the labels of brats2024 or brats2021: set --label_convention" in message


def test_an_unknown_convention_is_refused(tmp_path, weights):
    save_case(tmp_path / "in", "a", label=True)
    message = failure(str(tmp_path / "in"), tmp_path, weights, label_convention="brats2019")
    assert "--label_convention is 'brats2019', expected one of brats2023, brats2024, brats2021, brats_msd" in message
