"""MONAI Label serves the bundles with the labels of the command line, where an environment of it is named.

    MONAI_LABEL_ENVIRONMENT=label-env python -m pytest tests/test_monai_label_server.py

Links the bundles into MONAI Label's app `monaibundle`, starts its server on a free port of this machine, and asks it
for legends, labels, and a round of training.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_mamba import MedSegMamba
from monai_mamba.files import read_json
from monai_mamba.handlers.weights import read_weights, save_weights
from monai_mamba.labels import LabelTable

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLES = REPOSITORY / "bundles"
IMAGES = {"subcortical": "head", "hippocampal_subfields": "head", "brats_multimodal": "tumor"}
TRAINED = "subcortical_training"
TINY = {"in_channels": 1, "out_channels": 36, "channels": [8, 8, 8], "depth": 1, "d_state": 2}
EVERYTHING = [*IMAGES, TRAINED]


class Server(NamedTuple):
    """A running server: where it listens, such as `http://127.0.0.1:8000`, its folder, and the Python it runs in."""

    address: str
    folder: Path
    python: str

    @property
    def models(self) -> Path:
        return self.folder / "monaibundle" / "model"

    def log(self) -> str:
        """The end of what it has printed."""
        return "\n".join((self.folder / "server.log").read_text(errors="replace").splitlines()[-30:])

    def ask(self, path: str, data: bytes | None = None, kind: str = "application/json") -> bytes:
        """Content of the answer to a GET request, or to a POST request where there are data."""
        request = urllib.request.Request(self.address + path, data=data, headers={"Content-Type": kind})
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            time.sleep(1)  # the server answers before it writes to its log
            pytest.fail(f"{path}: the server answered {error.code}. The end of its log:\n{self.log()}")

    def segment(self, model: str, weights: str, result: Path) -> None:
        """Write the labels of the image of a bundle to a file."""
        params = {"result_extension": ".nii.gz", "result_dtype": "uint8", "device": "cpu", "model_filename": weights}
        form = urllib.parse.urlencode({"params": json.dumps(params)}).encode()
        query = urllib.parse.urlencode({"image": IMAGES.get(model, "train-1"), "output": "image"})
        result.write_bytes(self.ask(f"/infer/{model}?{query}", form, "application/x-www-form-urlencoded"))

    def train(self, model: str) -> None:
        """Train a bundle for a round from its weights and wait for the end, as 3D Slicer does."""
        params = {"max_epochs": 1, "device": "cpu", "val_split": 0.5, "multi_gpu": False, "tracking": "None"}
        self.ask(f"/train/{model}", json.dumps({**params, "model_filename": "model.pt", "run_id": "run"}).encode())
        while (task := json.loads(self.ask("/train/")))["status"] in ("SUBMITTED", "RUNNING"):
            time.sleep(2)
        assert task["status"] == "DONE", self.log()


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """A server of all bundles, and of one with a tiny network to train."""
    if "MONAI_LABEL_ENVIRONMENT" not in os.environ:
        pytest.skip("the variable MONAI_LABEL_ENVIRONMENT names no environment made as docs/monai_label.md says")
    programs = Path(os.environ["MONAI_LABEL_ENVIRONMENT"]).absolute() / ("Scripts" if os.name == "nt" else "bin")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("monai_label")
    server = Server(f"http://127.0.0.1:{port}", folder, str(programs / "python"))
    command = [server.python, "-m", "monailabel.main"]
    subprocess.run([*command, "apps", "--download", "--name", "monaibundle", "--output", str(folder)], check=True)
    server.models.mkdir(parents=True, exist_ok=True)
    for name in IMAGES:
        (server.models / name).symlink_to(BUNDLES / name, target_is_directory=True)
    copy_tiny(server.models / TRAINED)
    make_studies(folder / "studies")
    command += ["start_server", "--app", str(folder / "monaibundle"), "--studies", str(folder / "studies")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--conf", "models", ",".join(EVERYTHING)]
    command += ["--conf", "zoo_source", "local", "--conf", "sam2", "false"]
    environment = {"PATH": os.pathsep.join([str(programs), os.environ["PATH"]])}
    environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    with (folder / "server.log").open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while not answers(server):
            assert process.poll() is None, server.log()
            time.sleep(1)
        yield server
    finally:
        if os.name == "nt":
            process.terminate()
        elif process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def answers(server: Server) -> bool:
    try:
        server.ask("/info/")
    except urllib.error.URLError:
        return False
    return True


def copy_tiny(target: Path) -> None:
    """Copy the subcortical bundle with a tiny network of random weights, which two steps train."""
    shutil.copytree(BUNDLES / "subcortical", target, ignore=shutil.ignore_patterns("eval", "models", "sample_data"))
    tiny = {"network_def": {"_target_": "MedSegMamba", **TINY}, "roi_size": [32, 32, 32]}
    training = {**tiny, "iterations_per_epoch": 2, "num_workers": 0}
    for file, entries in (("inference", tiny), ("train", training), ("metadata", {"weights": {}})):
        path = target / "configs" / f"{file}.json"
        path.write_text(json.dumps({**read_json(path), **entries}, indent=4), encoding="utf-8")
    torch.manual_seed(0)
    save_weights(target / "models" / "model.pt", MedSegMamba(**TINY))


def make_studies(folder: Path) -> None:
    """Write the images that the server knows, two of them with labels to train on."""
    samples = BUNDLES / "subcortical" / "sample_data"
    head, labels = (nib.load(samples / f"sub-0001_{name}.nii.gz") for name in ("T1w", "desc-aseg_dseg"))
    middle = tuple(slice(size // 2 - 32, size // 2 + 32) for size in head.shape)
    (folder / "labels" / "final").mkdir(parents=True)
    for name in ("train-1", "train-2"):
        nib.save(head.slicer[middle], folder / f"{name}.nii.gz")
        nib.save(labels.slicer[middle], folder / "labels" / "final" / f"{name}.nii.gz")
    nib.save(head, folder / "head.nii.gz")
    case = next((BUNDLES / "brats_multimodal" / "sample_data").iterdir())
    files = [nib.load(case / f"{case.name}-{ending}.nii.gz") for ending in ("t2f", "t1n", "t1c", "t2w")]
    volumes = np.stack([np.asanyarray(file.dataobj) for file in files], axis=-1)
    nib.save(nib.Nifti1Image(volumes, files[0].affine), folder / "tumor.nii.gz")


def read_formats(bundle: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Names of the structures with the numbers of the legend, and with the ids that the command line writes."""
    formats = read_json(bundle / "configs" / "metadata.json")["network_data_format"]
    channels = formats["outputs"]["pred"]["channel_def"], formats["post_processed_outputs"]["pred"]["channel_def"]
    numbers, ids = ({name.lower(): int(label) for label, name in names.items() if int(label)} for names in channels)
    return numbers, ids


def check_labels(found: Path, expected: Path, numbers: dict[str, int], ids: dict[str, int]) -> None:
    """Compare the server's label map, with the numbers of the legend, and the command line's."""
    one, other = nib.load(found), nib.load(expected)
    assert one.shape == other.shape
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-4)  # written as origin, spacing and directions
    lookup = np.zeros(256, dtype=np.int64)
    for name, number in numbers.items():
        lookup[number] = ids[name]
    labels = lookup[np.asanyarray(one.dataobj)]
    assert labels.any()
    np.testing.assert_array_equal(labels, np.asanyarray(other.dataobj))


def check_served(server: Server, model: str, weights: str, folder: Path) -> None:
    """The labels of an image are those that `python -m monai.bundle run` writes in the same environment."""
    bundle = server.models / model
    server.segment(model, weights, folder / "served.nii.gz")
    command = [server.python, "-m", "monai.bundle", "run", "--config_file", bundle / "configs" / "inference.json"]
    command += ["--input", server.folder / "studies" / f"{IMAGES.get(model, 'train-1')}.nii.gz"]
    command += ["--output_dir", folder / "results", "--device", "cpu", "--weights", bundle / "models" / weights]
    subprocess.run([str(part) for part in command], cwd=folder, check=True)
    (expected,) = (folder / "results").glob("*_dseg.nii.gz")
    check_labels(folder / "served.nii.gz", expected, *read_formats(bundle))


@pytest.mark.parametrize("model", EVERYTHING)
def test_the_legend_counts_up_from_one_with_the_names_of_the_structures(server, model):
    labels = json.loads(server.ask("/info/"))["models"].get(model, {}).get("labels", {})
    numbers, ids = read_formats(server.models / model)
    assert labels == numbers
    assert list(labels) == list(ids)
    assert list(labels.values()) == list(range(1, len(ids) + 1))


@pytest.mark.parametrize("model", IMAGES)
def test_the_labels_are_those_of_the_command_line(server, model, tmp_path):
    check_served(server, model, "model.pt", tmp_path)


def test_a_round_of_training_changes_the_weights_and_they_are_served(server, tmp_path):
    bundle = server.models / TRAINED
    server.train(TRAINED)
    trained = bundle / "eval" / "train" / "model.pt"
    before, after = read_weights(bundle / "models" / "model.pt"), read_weights(trained)
    moved = max(float((after[name].float() - value.float()).abs().max()) for name, value in before.items())
    assert 0 < moved < 0.1  # a few steps of a learning rate of 0.0005; fresh weights would differ by more
    shutil.copy(trained, bundle / "models" / "trained.pt")
    check_served(server, TRAINED, "trained.pt", tmp_path)


def save(path: Path, labels: np.ndarray, shift: float = 0.0) -> Path:
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    affine[0, 3] = shift
    nib.save(nib.Nifti1Image(labels, affine), path)
    return path


def test_labels_are_compared_by_name_on_one_grid(tmp_path):
    numbers, ids = read_formats(BUNDLES / "subcortical")
    assert ids["right-hippocampus"] == 53
    served = np.zeros((4, 4, 4), np.uint8)
    served[0], served[1] = numbers["left-hippocampus"], numbers["right-hippocampus"]
    written = np.zeros((4, 4, 4), np.uint8)
    written[0], written[1] = 17, 53
    other = save(tmp_path / "written.nii.gz", written)
    check_labels(save(tmp_path / "served.nii.gz", served), other, numbers, ids)
    nothing = save(tmp_path / "nothing.nii.gz", np.zeros_like(served))
    for wrong, right in (
        (save(tmp_path / "moved.nii.gz", served, shift=0.5), other),
        (save(tmp_path / "cut.nii.gz", served[:3]), other),
        (save(tmp_path / "ids.nii.gz", written), other),
        (nothing, nothing),
    ):
        with pytest.raises(AssertionError):
            check_labels(wrong, right, numbers, ids)


def test_numbers_of_slicer_become_ids_as_documented(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies" / "labels" / "final").mkdir(parents=True)
    table = LabelTable.load("subcortical")
    numbers = np.arange(1, 32, dtype=np.float32).reshape(31, 1, 1)  # some viewers save them like this
    path = save(tmp_path / "studies" / "labels" / "final" / "scan.nii.gz", numbers)
    document = (REPOSITORY / "docs" / "monai_label.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    exec(snippet, {})
    found = nib.load(path)
    assert np.asarray(found.dataobj).ravel().tolist() == [entry.id for entry in table.structures]
    np.testing.assert_array_equal(found.affine, np.diag([-1.0, 1.0, 1.0, 1.0]))
