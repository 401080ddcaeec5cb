"""Serve the bundles with MONAI Label and check its answers against the command line.

    python tools/check_monai_label.py --environment label-env           # the bundles as they ship
    python tools/check_monai_label.py --environment label-env --quick   # tiny networks and images

In the environment that docs/monai_label.md makes, links the bundles into MONAI Label's app `monaibundle`, starts its
server on a free port of this machine and asks it for

* the legend of each bundle: numbers 1, 2, 3, ... as 3D Slicer counts segments, with the names of the structures;
* the labels of a scan, which must be those that `python -m monai.bundle run` writes in the same environment, under the
  numbers of the legend and on the same grid;
* a round of training of the subcortical bundle with a tiny network, whose weights must then be served.

A bundle without weights gets random ones. Prints a line for each check; the exit status is 1 if one failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from reports import run_command

from monai_mamba.errors import InputError, MonaiMambaError
from monai_mamba.handlers.weights import read_weights

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLES = {path.name: path for path in sorted((REPOSITORY / "bundles").iterdir()) if (path / "configs").is_dir()}
TRAINED = "subcortical_training"

TINY_NETWORK = {"_target_": "MedSegMamba", "in_channels": 1, "out_channels": 36, "channels": [8, 8, 8]}
TINY_NETWORK |= {"depth": 1, "d_state": 2}
TINY_TUMOR_NETWORK = {"_target_": "SegMaFormer", "in_channels": 4, "out_channels": 3}
MAKE_WEIGHTS = """\
import sys, torch
from monai.bundle import ConfigParser
parser = ConfigParser()
parser.read_config(sys.argv[1])
torch.manual_seed(0)
torch.save(parser.get_parsed_content("network_def").state_dict(), sys.argv[2])
"""


def python_of(environment: Path) -> str:
    """The interpreter of a virtual environment."""
    return str(environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def run(*command: str | Path, **options: object) -> str:
    """Run a program, and return what it printed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise InputError(f"{' '.join(map(str, command))}: exit status {done.returncode}.\n{tail}")
    return done.stdout


class Server(NamedTuple):
    """A running server: where it listens, such as `http://127.0.0.1:8000`, and the file with what it prints."""

    address: str
    log: Path

    def ask(self, path: str, data: bytes | None = None, kind: str = "application/json") -> bytes:
        """Content of the answer to a GET request, or to a POST request where there are data."""
        request = urllib.request.Request(self.address + path, data=data, headers={"Content-Type": kind})
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            time.sleep(1)  # the server answers before it writes to its log
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            cause = next((line for line in reversed(lines) if re.match(r"[\w.]+(Error|Exception):", line)), "unknown")
            raise InputError(f"{path}: the server answered {error.code} ({cause}). Its log: {self.log}") from error

    def info(self) -> dict:
        """What the server says about itself."""
        return json.loads(self.ask("/info/"))

    def segment(self, model: str, image: str, result: Path, **params: object) -> None:
        """Write the labels of an image to a file."""
        params = {"result_extension": ".nii.gz", "result_dtype": "uint8", **params}
        form = urllib.parse.urlencode({"params": json.dumps(params)}).encode()
        query = urllib.parse.urlencode({"image": image, "output": "image"})
        result.write_bytes(self.ask(f"/infer/{model}?{query}", form, "application/x-www-form-urlencoded"))

    def train(self, model: str, **params: object) -> None:
        """Train a model and wait for the end, as 3D Slicer does."""
        self.ask(f"/train/{model}", json.dumps(params).encode())
        while (task := json.loads(self.ask("/train/")))["status"] in ("SUBMITTED", "RUNNING"):
            time.sleep(2)
        if task["status"] != "DONE":
            last = (task.get("details") or ["no output"])[-1]
            raise InputError(f"the training ended with {task['status']} ({last}). Its log: {self.log}")


@contextlib.contextmanager
def serve(environment: Path, app: Path, studies: Path, models: list[str]) -> Iterator[Server]:
    """Start the server, and end it afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python_of(environment), "-m", "monailabel.main", "start_server", "--app", str(app)]
    command += ["--studies", str(studies), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--conf", "models", ",".join(models), "--conf", "zoo_source", "local", "--conf", "sam2", "false"]
    path = os.pathsep.join([str(Path(python_of(environment)).parent), os.environ["PATH"]])
    log = app.parent / "server.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            cwd=app.parent,
            env={**os.environ, "PATH": path, "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", log)
    try:
        while True:
            try:
                server.info()
                break
            except urllib.error.URLError:
                if process.poll() is not None:
                    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
                    raise InputError(f"The server does not start. The end of {log}:\n{tail}") from None
                time.sleep(1)
        yield server
    finally:
        if os.name == "nt":
            process.terminate()
        elif process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def copy_bundle(name: str, target: Path, python: str, changes: dict[str, dict]) -> None:
    """Copy a bundle, replace top-level entries of some `configs`, and let `python` make random weights."""
    shutil.copytree(BUNDLES[name], target, ignore=shutil.ignore_patterns("eval", "models", "sample_data"))
    for file, entries in {**changes, "metadata.json": {"weights": {}}}.items():
        path = target / "configs" / file
        config = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**config, **entries}, indent=4), encoding="utf-8")
    (target / "models").mkdir()
    run(python, "-c", MAKE_WEIGHTS, target / "configs" / "inference.json", target / "models" / "model.pt")


def prepare(names: list[str], app: Path, python: str, quick: bool) -> list[str]:
    """Put the bundles into the app; returns the names of those that are served."""
    models = app / "model"
    models.mkdir(parents=True, exist_ok=True)
    tiny = {"network_def": TINY_NETWORK, "roi_size": [32, 32, 32]}
    tumor_network = {"_target_": "MissingModalityFill", "in_channels": 4, "network": TINY_TUMOR_NETWORK}
    served = []
    for name in names:
        if quick and name == "hippocampal_subfields":
            print(f"left out  {name}: needs weights that find a hippocampus", flush=True)
            continue
        if quick and name == "subcortical":
            copy_bundle(name, models / name, python, {"inference.json": tiny})
        elif quick and name == "brats_multimodal":
            change = {"inference.json": {"network_def": tumor_network, "roi_size": [64, 64, 64]}}
            copy_bundle(name, models / name, python, change)
        elif (BUNDLES[name] / "models" / "model.pt").is_file():
            (models / name).symlink_to(BUNDLES[name], target_is_directory=True)
        else:
            copy_bundle(name, models / name, python, {})
        served.append(name)
    if "subcortical" in names:
        train = {**tiny, "iterations_per_epoch": 2, "num_workers": 0}
        copy_bundle("subcortical", models / TRAINED, python, {"inference.json": tiny, "train.json": train})
        served.append(TRAINED)
    return served


def block(image: nib.Nifti1Image, size: int) -> nib.Nifti1Image:
    """The cube of `size` voxels in the middle of an image."""
    return image.slicer[tuple(slice(n // 2 - size // 2, n // 2 + size // 2) for n in image.shape[:3])]


def make_studies(folder: Path, quick: bool) -> dict[str, str]:
    """Write the images that the server knows; returns the image of each bundle by its name there."""
    samples = BUNDLES["subcortical"] / "sample_data"
    head, labels = (nib.load(samples / f"sub-0001_{name}.nii.gz") for name in ("T1w", "desc-aseg_dseg"))
    (folder / "labels" / "final").mkdir(parents=True)
    for name in ("train-1", "train-2"):
        nib.save(block(head, 64), folder / f"{name}.nii.gz")
        nib.save(block(labels, 64), folder / "labels" / "final" / f"{name}.nii.gz")
    nib.save(block(head, 64) if quick else head, folder / "head.nii.gz")
    case = next((BUNDLES["brats_multimodal"] / "sample_data").iterdir())
    files = [nib.load(case / f"{case.name}-{ending}.nii.gz") for ending in ("t2f", "t1n", "t1c", "t2w")]
    volumes = nib.Nifti1Image(np.stack([np.asanyarray(file.dataobj) for file in files], axis=-1), files[0].affine)
    nib.save(block(volumes, 48) if quick else volumes, folder / "tumor.nii.gz")
    return {"subcortical": "head", "hippocampal_subfields": "head", "brats_multimodal": "tumor", TRAINED: "train-1"}


def read_formats(bundle: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Names of the structures with the numbers of the legend, and with the ids that the command line writes."""
    formats = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))["network_data_format"]
    channels = formats["outputs"]["pred"]["channel_def"], formats["post_processed_outputs"]["pred"]["channel_def"]
    numbers, ids = ({name.lower(): int(label) for label, name in names.items() if int(label)} for names in channels)
    return numbers, ids


def compare(found: Path, expected: Path, numbers: dict[str, int], ids: dict[str, int]) -> str:
    """Compare the server's label map, with the numbers of the legend, and the command line's; returns what is equal."""
    one, other = nib.load(found), nib.load(expected)
    shift = float(np.abs(one.affine - other.affine).max()) if one.shape == other.shape else np.inf
    if not shift < 1e-4:  # the server writes the grid as origin, spacing and directions
        raise InputError(f"the grids differ: {one.shape} and {other.shape} voxels, affines by {shift:.2g} mm")
    labels, expected_labels = np.asanyarray(one.dataobj), np.asanyarray(other.dataobj)
    lookup = np.zeros(256, dtype=np.int64)
    for name, number in numbers.items():
        lookup[number] = ids[name]
    different = int((lookup[labels] != expected_labels).sum())
    present = len(np.unique(labels)) - 1
    if different or not present:
        raise InputError(f"{different} of {labels.size} voxels differ; {present} structures")
    return f"{present} structures, {int((labels > 0).sum())} of {labels.size} voxels, all equal"


@dataclass
class Checks:
    """Runs the checks and prints a line for each; `python` is that of the environment, networks run on `device`."""

    server: Server
    app: Path
    studies: Path
    python: str
    device: str
    failed: int = 0

    @contextlib.contextmanager
    def check(self, name: str) -> Iterator[list[str]]:
        """One check; the block may add what it found."""
        found: list[str] = []
        started = time.monotonic()
        try:
            yield found
        except MonaiMambaError as error:
            self.failed += 1
            print(f"FAILED  {name}: {error}", flush=True)
        else:
            print(f"ok  {name}: {', '.join(found)} ({time.monotonic() - started:.0f} s)", flush=True)

    def legend(self, model: str) -> None:
        """The numbers of the legend."""
        with self.check(f"{model}, legend") as found:
            labels = self.server.info()["models"].get(model, {}).get("labels", {})
            numbers, ids = read_formats(self.app / "model" / model)
            if labels != numbers or list(labels.values()) != list(range(1, len(ids) + 1)) or list(ids) != list(labels):
                raise InputError(f"found {labels}, expected 1 to {len(ids)} for {list(ids)}")
            found.append(f"{len(labels)} structures")

    def inference(self, model: str, image: str, weights: str = "model.pt") -> None:
        """The labels of an image, against those of the command line."""
        with self.check(f"{model}, {image} with {weights}") as found:
            bundle, results = self.app / "model" / model, self.app.parent / "results" / f"{model}_{Path(weights).stem}"
            results.mkdir(parents=True)
            served = results / "served.nii.gz"
            self.server.segment(model, image, served, device=self.device, model_filename=weights)
            command = [self.python, "-m", "monai.bundle", "run", "--config_file", bundle / "configs" / "inference.json"]
            command += ["--input", self.studies / f"{image}.nii.gz", "--output_dir", results / "command_line"]
            command += ["--device", self.device, "--weights", bundle / "models" / weights]
            run(*command, cwd=results)
            (expected,) = (results / "command_line").glob("*_dseg.nii.gz")
            found.append(compare(served, expected, *read_formats(bundle)))

    def training(self, model: str) -> None:
        """A round of training from the weights of the bundle; the trained weights become `trained.pt` of the bundle."""
        with self.check(f"{model}, training") as found:
            bundle = self.app / "model" / model
            params = {"max_epochs": 1, "device": self.device, "val_split": 0.5, "multi_gpu": False, "tracking": "None"}
            self.server.train(model, **params, model_filename="model.pt", run_id="run")
            trained = bundle / "eval" / "train" / "model.pt"
            if not trained.is_file():
                raise InputError(f"{trained} was not written")
            before, after = read_weights(bundle / "models" / "model.pt"), read_weights(trained)
            moved = max(float((after[name].float() - value.float()).abs().max()) for name, value in before.items())
            if not 0 < moved < 0.1:  # a few steps of a learning rate of 0.0005; fresh weights would differ by more
                raise InputError(f"the weights have moved by {moved:.2g}: not trained from those of the bundle")
            shutil.copy(trained, bundle / "models" / "trained.pt")
            found.append(f"no weight moved by more than {moved:.2g}")


def check(options: argparse.Namespace) -> int:
    """Serve and check, in a folder that is kept or in a temporary one; return 1 if a check failed."""
    with contextlib.ExitStack() as stack:
        work = options.work_dir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        work = work.absolute()
        environment = options.environment.absolute()
        python, app, studies = python_of(environment), work / "monaibundle", work / "studies"
        if not Path(python).exists():
            raise InputError(f"{environment}: no Python there. Install MONAI Label as docs/monai_label.md says.")
        run(python, "-m", "monailabel.main", "apps", "--download", "--name", "monaibundle", "--output", work)
        models, images = prepare(options.bundles, app, python, options.quick), make_studies(studies, options.quick)
        checks = Checks(
            stack.enter_context(serve(environment, app, studies, models)), app, studies, python, options.device
        )
        for model in models:
            checks.legend(model)
            if model != TRAINED:
                checks.inference(model, images[model])
        if TRAINED in models:
            checks.training(TRAINED)
            checks.inference(TRAINED, images[TRAINED], "trained.pt")
    return int(checks.failed > 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", required=True, type=Path, help="virtual environment with MONAI Label")
    parser.add_argument("--bundles", nargs="+", choices=BUNDLES, default=list(BUNDLES), help="all unless given")
    parser.add_argument("--quick", action="store_true", help="tiny networks and images instead of what ships")
    parser.add_argument("--device", default="cpu", help="where networks run (%(default)s)")
    parser.add_argument("--work_dir", type=Path, help="empty or new folder that is kept, for a look at what went wrong")
    options = parser.parse_args()
    return run_command(check, options)


if __name__ == "__main__":
    sys.exit(main())
