"""Many scans: a BIDS data set over two processes, after a kill, with bad files; one table of all cases in the end."""

from __future__ import annotations

import csv
import json
import os
import re
import socket
import sys
import time
from pathlib import Path

import forked
import nibabel as nib
import numpy as np
import pytest
import torch
import torch.distributed as dist
import tumor_phantom
from head_phantom import LEFT, IntensityNetwork, save_head
from monai.bundle import ConfigWorkflow

from monai_mamba.data.scans import RESULTS
from monai_mamba.errors import BatchError
from monai_mamba.handlers import ResultSaver
from monai_mamba.labels import LabelTable
from monai_mamba.transforms import CheckImaged

TESTS = Path(__file__).resolve().parents[1]
BUNDLES = TESTS.parent / "bundles"
CONFIGS = BUNDLES / "subcortical" / "configs"
SHAPE = (32, 34, 36)
# File names of segmentations in BIDS 1.10.0, "Imaging derivatives: segmentations", with the entities of T1w scans.
VALUE = "[0-9a-zA-Z+]+"
NAME = re.compile(
    rf"sub-(?P<sub>{VALUE})/(ses-(?P<ses>{VALUE})/)?anat/sub-(?P=sub)(?(ses)_ses-(?P=ses))"
    + "".join(f"(_{entity}-{VALUE})?" for entity in ("acq", "ce", "rec", "run", "echo", "part", "space", "seg", "desc"))
    + r"_dseg\.nii\.gz"
)


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def head(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_head(path, SHAPE, np.eye(3))


@pytest.fixture
def weights(tmp_path) -> str:
    torch.save(IntensityNetwork().state_dict(), tmp_path / "weights.pt")
    return str(tmp_path / "weights.pt")


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Six good scans and two bad ones, of which one is only found out when it is read."""
    root = tmp_path / "raw"
    names = [f"sub-0{number}/anat/sub-0{number}_T1w.nii.gz" for number in range(1, 6)]
    names += ["sub-06/ses-1/anat/sub-06_ses-1_acq-mprage_run-2_T1w.nii.gz", "sub-07/anat/sub-07_T1w.nii.gz"]
    for name in names:
        head(root / name)
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.eye(4)), root / names[-1])
    (root / "sub-08" / "anat").mkdir(parents=True)
    (root / "sub-08" / "anat" / "sub-08_T1w.nii.gz").touch()
    (root / "dataset_description.json").write_text('{"Name": "Phantoms", "BIDSVersion": "1.10.0"}')
    return root


def command(dataset: Path, output_dir: Path, weights: str, *configs: str) -> list[str]:
    options = {
        "config_file": str([str(CONFIGS / name) for name in configs]),
        "input": dataset,
        "output_dir": output_dir,
        "weights": weights,
        "network_def": "{'_target_': 'head_phantom.IntensityNetwork'}",
        "mirror": "False",
        "roi_size": "[56, 56, 56]",
        "device": "cpu",
    }
    words = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return [sys.executable, "-m", "monai.bundle", "run", *words]


def kill_after_the_first_result(arguments: list[str], output_dir: Path, environment: dict[str, str]) -> None:
    started = forked.Command(arguments, env=environment)
    while not list(output_dir.rglob("sub-*_dseg.nii.gz")):
        assert started.process.is_alive()
        time.sleep(0.01)
    started.process.kill()
    started.wait()


def test_a_killed_run_of_a_bids_data_set_is_finished_by_two_processes(dataset, tmp_path, weights):
    out = dataset / "derivatives" / "subcortical"
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    kill_after_the_first_result(command(dataset, out, weights, "inference.json"), out, environment)
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("sub-*_dseg.nii.gz")}
    assert 1 <= len(kept) < 6
    assert not (out / "cases.tsv").exists()

    arguments = command(dataset, out, weights, "inference.json", "multi_gpu_inference.json")
    ended = forked.run_as_two_processes(arguments, tmp_path, environment)
    logs = [process.stdout for process in ended]
    assert ended[0].returncode == 1, logs
    assert "Error: 2 of 8 scans failed, the others are done:" in logs[0], logs
    assert "Error:" not in logs[1], logs

    # One table of all cases: none lost, none done twice, those of the killed run kept.
    rows = read_table(out / "cases.tsv")
    assert [row["name"] for row in rows] == [str(path) for path in sorted(dataset.glob("sub-*/**/*_T1w.nii.gz"))]
    prefixes = [out / Path(row["name"]).parent.relative_to(dataset) / Path(row["name"]).name[:-11] for row in rows]
    results = [Path(f"{prefix}_desc-subcortical{RESULTS['labels']}") for prefix in prefixes]
    expected = ["skipped" if path in kept else "done" for path in results[:6]] + ["failed", "failed"]
    assert [row["status"] for row in rows] == expected
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert [(row["seconds"] == "n/a", row["quality"]) for row in rows] == [
        *((status == "skipped", "fail") for status in expected[:6]),
        (False, "n/a"),
        (True, "n/a"),
    ]
    assert all("structures are unusual: Left-Lateral-Ventricle (not found)" in row["message"] for row in rows[:6])
    assert "every voxel is 1" in rows[6]["message"]
    assert "empty (0 bytes)" in rows[7]["message"]
    to_do = [index for index, status in enumerate(expected) if status != "skipped"]
    for rank, own in enumerate((to_do[::2], to_do[1::2])):
        assert [int(text) - 1 for text in re.findall(r"\[(\d+)/8\]", logs[rank])] == own

    # Complete results, under names of BIDS, described as a derivative.
    assert sorted(out.rglob("sub-*_dseg.nii.gz")) == results[:6]
    assert all(NAME.fullmatch(path.relative_to(out).as_posix()) for path in results[:6])
    (volume,) = {row["Left-Hippocampus"] for row in rows[:6]}
    assert rows[7]["Left-Hippocampus"] == "n/a"
    for path in results[:6]:
        assert float(volume) == (np.asanyarray(nib.load(path).dataobj) == LEFT).sum() > 0
        assert all(Path(str(path).replace(RESULTS["labels"], ending)).is_file() for ending in RESULTS.values())
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    lookup = read_table(out / "desc-subcortical_dseg.tsv")
    assert [int(row["index"]) for row in lookup] == [entry.id for entry in LabelTable.load("subcortical").structures]


def run(configs: list[Path], **options: object) -> None:
    bundle = ConfigWorkflow(
        [str(path) for path in configs],
        workflow_type="infer",
        logging_file=False,
        device="cpu",
        progress=False,
        mirror=False,
        **{name: str(value) if isinstance(value, Path) else value for name, value in options.items()},
    )
    bundle.initialize()
    bundle.run()
    bundle.finalize()


def test_a_single_process_writes_the_same_table(tmp_path, weights):
    for name in ("a", "b"):
        head(tmp_path / "in" / f"{name}.nii.gz")
    (tmp_path / "in" / "c.nii.gz").touch()
    options = {
        "output_dir": tmp_path / "out",
        "weights": weights,
        "network_def": {"_target_": "head_phantom.IntensityNetwork"},
        "roi_size": [56, 56, 56],
    }
    for expected in (["done", "done", "failed"], ["skipped", "skipped", "failed"]):
        with pytest.raises(RuntimeError) as failure:
            run([CONFIGS / "inference.json"], input=tmp_path / "in", **options)
        error: BaseException = failure.value
        while not isinstance(error, BatchError):
            error = error.__cause__
        assert "1 of 3 scans failed" in str(error)
        rows = read_table(tmp_path / "out" / "cases.tsv")
        assert [row["status"] for row in rows] == expected
        assert rows[0]["Left-Hippocampus"] == rows[1]["Left-Hippocampus"] != rows[2]["Left-Hippocampus"] == "n/a"

    # Parts of a folder, as the jobs of an array take them, have tables of their own.
    pattern, table = str(tmp_path / "in" / "[ab]*"), tmp_path / "cases_0.tsv"
    run([CONFIGS / "inference.json"], input=pattern, case_table=table, **options)
    assert [row["status"] for row in read_table(table)] == ["skipped", "skipped"]
    assert len(read_table(tmp_path / "out" / "cases.tsv")) == 3


def test_the_next_scan_is_read_while_one_is_computed_and_no_more(tmp_path, weights, monkeypatch):
    for name in ("a", "b", "c"):
        head(tmp_path / "in" / f"{name}.nii.gz")
    read, computed, seen = [], [], []
    check, forward, save = CheckImaged.__call__, IntensityNetwork.forward, ResultSaver.__call__

    def note(self, item):
        read.append(Path(item["image"].meta["filename_or_obj"]).name[0])
        return check(self, item)

    def wait_for_the_next(self, image):
        ends = time.monotonic() + 60
        while len(read) < min(len(computed) + 2, 3) and time.monotonic() < ends:
            time.sleep(0.01)
        seen.append((len(computed), "".join(read)))
        return forward(self, image)

    def count(self, engine):
        computed.append(engine)
        save(self, engine)

    monkeypatch.setattr(CheckImaged, "__call__", note)
    monkeypatch.setattr(IntensityNetwork, "forward", wait_for_the_next)
    monkeypatch.setattr(ResultSaver, "__call__", count)
    options = {"network_def": {"_target_": "head_phantom.IntensityNetwork"}, "roi_size": [56, 56, 56]}
    run([CONFIGS / "inference.json"], input=tmp_path / "in", output_dir=tmp_path / "out", weights=weights, **options)
    assert set(seen) == {(0, "ab"), (1, "abc"), (2, "abc")}


@pytest.fixture
def one_rank(monkeypatch):
    """What torchrun tells a process, for the only one of a run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def test_all_bundles_run_on_several_processes_alike(tmp_path, one_rank):
    overlays = [path.read_text() for path in sorted(BUNDLES.glob("*/configs/multi_gpu_inference.json"))]
    assert len(overlays) == 3
    assert len(set(overlays)) == 1
    for name in ("one", "two"):
        tumor_phantom.save_case(tmp_path / "in" / name, name)
    torch.save(tumor_phantom.TumorNetwork().state_dict(), tmp_path / "weights.pt")
    configs = BUNDLES / "brats_multimodal" / "configs"
    run(
        [configs / "inference.json", configs / "multi_gpu_inference.json"],
        input=tmp_path / "in",
        output_dir=tmp_path / "out",
        weights=tmp_path / "weights.pt",
        network_def={"_target_": "tumor_phantom.TumorNetwork"},
        roi_size=[32, 32, 32],
    )
    assert not dist.is_initialized()
    rows = read_table(tmp_path / "out" / "cases.tsv")
    assert [(row["name"], row["status"]) for row in rows] == [("one", "done"), ("two", "done")]
    assert float(rows[0]["Whole tumor (WT)"]) > float(rows[0]["Tumor core (TC)"]) > 0


def test_documented_commands_name_configs_that_are_there():
    text = (TESTS.parent / "docs" / "many_scans.md").read_text(encoding="utf-8")
    names = set(re.findall(r"bundles/[\w/]+\.json", text))
    assert len(names) >= 2
    assert all((TESTS.parent / name).is_file() for name in names), names
