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
