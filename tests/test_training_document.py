"""The programs in docs/training.md run, on phantoms and with a network that takes seconds."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from head_phantom import centered_affine, save_head
from monai.fl.utils.constants import FlStatistics
from monai.fl.utils.exchange_object import ExchangeObject

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
SHAPE = (24, 26, 22)
NETWORK = {"_target_": "MedSegMamba", "out_channels": 36, "channels": [8, 8, 8], "depth": 1, "d_state": 2}

pytestmark = pytest.mark.filterwarnings("ignore:All pairs belong to one person")


@pytest.fixture
def options(tmp_path) -> dict[str, object]:
    """Three scans, and options that make their training short."""
    (tmp_path / "pairs").mkdir()
    for number in range(3):
        labels = save_head(tmp_path / "pairs" / f"sub-{number}_T1w.nii.gz", SHAPE, np.eye(3))
        aseg = nib.Nifti1Image(labels, centered_affine(SHAPE, np.eye(3)))
        nib.save(aseg, tmp_path / "pairs" / f"sub-{number}_desc-aseg_dseg.nii.gz")
    tiny = {
        "roi_size": [16, 16, 16],
        "batch_size": 1,
        "iterations_per_epoch": 2,
        "overlap": 0.0,
        "val_interval": 9,
        "network_def": NETWORK,
    }
    folders = {"dataset_dir": str(tmp_path / "pairs"), "output_dir": str(tmp_path / "run")}
    return {**tiny, **folders, "device": "cpu", "num_workers": 0, "amp": False}


def program(text: str, **replacements: str) -> str:
    """The Python program of the document that holds a text, with some of its lines replaced."""
    (source,) = [block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if text in block]
    for start, line in replacements.items():
        source, count = re.subn(rf"^{start} = .*$", lambda _, line=line: line, source, flags=re.MULTILINE)
        assert count == 1, start
    return source


def test_options_and_configs_of_the_document_exist():
    options = set(re.findall(r"^\| `--(\w+)", TEXT, re.MULTILINE)) - {"tracking"}  # an option of MONAI
    assert len(options) >= 5
    for config in ("subcortical/configs/train", "brats_multimodal/configs/train"):
        source = (ROOT / "bundles" / f"{config}.json").read_text(encoding="utf-8")
        assert all(f'    "{option}":' in source for option in options), config
    paths = set(re.findall(r"bundles/[\w/]+\.json", TEXT))
    assert len(paths) >= 2
    assert all((ROOT / path).is_file() for path in paths), paths


def test_federated_rounds_start_from_the_weights_of_the_server(options, monkeypatch):
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    exec(program("MonaiAlgo", options=f"options = { ({**options, 'resume': False})!r}"), names)
    client = names["client"]
    start = {name: value.clone() for name, value in client.trainer.network.state_dict().items()}
    client.train(ExchangeObject(weights=start))
    update = client.get_weights()
    assert update.statistics[FlStatistics.NUM_EXECUTED_ITERATIONS] == 2
    assert max(np.abs(value).max() for value in update.weights.values()) > 1e-5

    other = {name: value + 0.01 for name, value in start.items()}
    monkeypatch.setattr(client.trainer.optimizer, "step", lambda *_: None)  # leaves what the round started from
    client.train(ExchangeObject(weights=other))
    for name, value in client.trainer.network.state_dict().items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0)

    metrics = client.evaluate(ExchangeObject(weights=other)).metrics
    assert 0 <= metrics["mean_dsc"] <= 1
    for name, value in client.evaluator.network.state_dict().items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0)
