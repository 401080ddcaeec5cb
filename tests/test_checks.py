"""What the user asked for is checked before a run begins."""

from __future__ import annotations

import multiprocessing
import sys

import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.transforms import LoadImage
from torch.utils.data import DataLoader

from monai_mamba.bundle import shipped_bundles
from monai_mamba.checks import check_flags, check_output_dir, preflight
from monai_mamba.data import VerifyingNibabelReader
from monai_mamba.errors import InputError, OutputError, as_before, own_error


@pytest.mark.parametrize("value", [True, False, 0, 1])
def test_flags_that_mean_what_they_say(value):
    check_flags(amp=value)


@pytest.mark.parametrize("value", ["false", "True", "no", 2, None])
def test_flags_that_python_would_take_for_something_else(value):
    with pytest.raises(InputError, match=f"--overwrite is '{value}', expected True or False"):
        check_flags(amp=True, overwrite=value)


def test_the_output_folder_is_made_and_left_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    check_output_dir("~/a/b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file.*--output_dir"):
        check_output_dir(tmp_path / "file")


@pytest.mark.parametrize("bundle", shipped_bundles())
def test_a_folder_is_no_checkpoint(bundle, tmp_path):
    config = shipped_bundles()[bundle] / "configs" / "train.json"
    options = {"checkpoint": tmp_path, "output_dir": tmp_path / "out", "dataset_dir": tmp_path / "absent"}
    training = ConfigWorkflow(str(config), workflow_type="train", logging_file=False, **options)
    with as_before(), pytest.raises(RuntimeError) as caught:
        training.run()
    message = f"--checkpoint is {tmp_path}, a folder; expected a file. Give one, such as {tmp_path / 'checkpoint.pt'}."
    assert str(own_error(caught.value)) == message


def refusal(bundle: str, configs: list[str], **options: object) -> str:
    """What a run says before it looks for data."""
    files = [str(shipped_bundles()[bundle] / "configs" / f"{name}.json") for name in configs]
    workflow = ConfigWorkflow(files, workflow_type="train", logging_file=False, device="cpu", **options)
    with as_before():
        workflow.initialize()
        with pytest.raises(RuntimeError) as caught:
            workflow.run()
    return str(own_error(caught.value))


WINDOWS: dict[str, tuple[str, str, list[int]]] = {
    "--roi_size of 90 voxels": (
        "subcortical",
        "MedSegMamba needs spatial sizes that are multiples of 16, but axis H has 90 voxels: pad or crop it, e.g. to",
        [90, 96, 104],
    ),
    "of 20": ("hippocampal_subfields", "multiples of 8, but axis H has 20 voxels", [20, 48, 64]),
    "of 48 for a network of stride 32": (
        "brats_multimodal",
        "SegMaFormer needs spatial sizes that are multiples of 32, but axis H has 48 voxels",
        [48, 96, 64],
    ),
    "of its stride": ("brats_multimodal", "SegMaFormer needs more than one cell of 32 voxels", [32, 32, 32]),
}


@pytest.mark.parametrize("config", ["inference", "train", "evaluate"])
@pytest.mark.parametrize("case", WINDOWS)
def test_windows_that_the_network_does_not_take_are_refused_before_data_are_looked_for(config, case, tmp_path):
    bundle, message, size = WINDOWS[case]
    source = "input" if config == "inference" else "dataset_dir"
    configs = ["train", "evaluate"] if config == "evaluate" else [config]
    places = {source: str(tmp_path / "absent"), "output_dir": str(tmp_path / "out")}
    places |= {"weights": str(shipped_bundles()[bundle] / "models" / "model.pt")} if config != "train" else {}
    refused = refusal(bundle, configs, **places, roi_size=size)
    assert f"--roi_size is {size}: " in refused
    assert message in refused


def test_windows_of_the_search_for_the_hippocampi_are_checked(tmp_path):
    options = {"input": str(tmp_path / "absent"), "output_dir": str(tmp_path / "out"), "first_roi_size": [96, 100, 96]}
    message = "--first_roi_size is [96, 100, 96]: MedSegMamba needs spatial sizes that are multiples of 16, but axis W"
    assert message in refusal("hippocampal_subfields", ["inference"], **options)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="macOS and Windows hand over any number of tensors")
def test_processes_take_any_number_of_tensors_also_from_python_3_14_on():
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("forkserver", force=True)
    try:
        preflight()
        data = [torch.tensor([float(number)]) for number in range(300)]
        assert torch.cat(list(DataLoader(data, num_workers=1))).flatten().tolist() == list(range(300))
    finally:
        multiprocessing.set_start_method(before, force=True)


def test_readers_that_nothing_uses_are_silent(caplog, recwarn):
    pytest.importorskip("pydicom")
    preflight()
    LoadImage(reader=VerifyingNibabelReader)
    assert "nvImageCodec" not in caplog.text + "".join(str(warning.message) for warning in recwarn)
