"""What happens around a run: kills, full disks, two runs at once, little memory, hostile weights and names."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from traceback import format_exception

import forked
import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import run_bundle
from head_phantom import TISSUE, IntensityNetwork, centered_affine, make_head, save_head

TESTS = Path(__file__).resolve().parents[1]
CONFIG = TESTS.parent / "bundles" / "subcortical" / "configs" / "inference.json"
SHAPE = (24, 26, 22)
ENDINGS = ("_desc-subcortical_dseg.nii.gz", "_desc-subcortical_volumes.tsv", "_desc-subcortical_picture.png")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs fork and limits as Linux has them")


@pytest.fixture
def weights(tmp_path) -> Path:
    torch.save(IntensityNetwork().state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS), "PYTHONWARNINGS": "ignore"}


def options(source: Path, output_dir: Path, weights: Path) -> dict[str, object]:
    files = {"input": str(source), "output_dir": str(output_dir), "weights": str(weights)}
    network = {"network_def": {"_target_": "head_phantom.IntensityNetwork"}, "roi_size": [48, 48, 48], "mirror": False}
    return {**files, **network, "device": "cpu", "progress": False}


def command(source: Path, output_dir: Path, weights: Path) -> list[str]:
    values = {"config_file": CONFIG, **options(source, output_dir, weights)}
    return [sys.executable, "-m", "monai.bundle", "run", *(f"--{name}={value}" for name, value in values.items())]


def heads(folder: Path, count: int) -> list[str]:
    folder.mkdir()
    for number in range(count):
        save_head(folder / f"head{number:02}.nii.gz", SHAPE, np.eye(3))
    return [f"head{number:02}" for number in range(count)]


def assert_complete(folder: Path, names: list[str]) -> None:
    """Every scan has its three results, whole and right, and there is nothing else under a final name."""
    expected = make_head(SHAPE, centered_affine(SHAPE, np.eye(3)))[1]
    for name in names:
        labels = np.asarray(nib.load(folder / f"{name}{ENDINGS[0]}").dataobj)
        np.testing.assert_array_equal(labels[1:], expected[1:])
        with (folder / f"{name}{ENDINGS[1]}").open(newline="") as file:
            rows = {int(row["id"]): int(row["voxels"]) for row in csv.DictReader(file, delimiter="\t")}
        assert all(rows[i] == np.sum(labels == i) for i in rows)
        assert (folder / f"{name}{ENDINGS[2]}").read_bytes().endswith(b"IEND\xaeB`\x82")
    images = {path.name for path in folder.iterdir() if path.name.endswith(ENDINGS) and not path.name.startswith(".")}
    assert images == {name + ending for name in names for ending in ENDINGS}


@linux
def test_killing_a_run_twenty_times_loses_nothing(tmp_path, weights):
    names = heads(tmp_path / "in", 20)
    program = [sys.executable, "-m", "interrupted_runs", *map(str, (tmp_path / "in", tmp_path / "out", weights, 20))]
    ended = forked.run(program, env=environment())
    killed, status = map(int, ended.stdout.splitlines()[-1].split())
    assert killed > 10, ended.stdout  # a run with nothing left to do may end before it is killed
    assert status == 0, ended.stdout
    assert_complete(tmp_path / "out", names)


def test_two_runs_into_one_folder(tmp_path, weights):
    names = heads(tmp_path / "in", 4)
    program = command(tmp_path / "in", tmp_path / "out", weights)
    for started in [forked.Command(program, env=environment()) for _ in range(2)]:
        ended = started.wait()
        assert ended.returncode == 0, ended.stdout
    assert_complete(tmp_path / "out", names)


def limited(run: list[str], kind: str, limit: int) -> subprocess.CompletedProcess:
    return forked.Command(run, env=environment(), limit=(kind, limit)).wait()


@linux
def test_no_space_for_a_result_leaves_none(tmp_path, weights):
    """A limit on the size of files stands for the full disk: the table still fits, the picture does not."""
    heads(tmp_path / "in", 1)
    ended = limited(command(tmp_path / "in", tmp_path / "out", weights), "RLIMIT_FSIZE", 4096)
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert "the results cannot be written" in last
    assert "--output_dir" in last
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.endswith(".nii.gz") or ".tmp." in path.name]


@linux
def test_a_head_of_256_voxels_needs_less_than_4_gib(tmp_path, weights):
    image = np.full((256, 256, 256), TISSUE, np.float32)
    image[96:160, 96:160, 96:160] = make_head((64, 64, 64), centered_affine((64, 64, 64), np.eye(3)))[0]
    (tmp_path / "in").mkdir()
    nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "in" / "large.nii")
    run = command(tmp_path / "in", tmp_path / "out", weights)
    run[[part.startswith("--roi_size") for part in run].index(True)] = "--roi_size=[96,96,96]"
    run.append("--overlap=0")  # a third of the windows, and as much memory
    ended = limited(run, "RLIMIT_DATA", 4 << 30)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out" / f"large{ENDINGS[0]}").is_file()


class Hostile:
    """What unpickling it would do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_code_in_weights_is_not_run(tmp_path):
    heads(tmp_path / "in", 1)
    torch.save({"levels": Hostile(tmp_path / "executed")}, tmp_path / "weights.pt")
    with pytest.raises(RuntimeError) as caught:
        run_bundle([CONFIG], **options(tmp_path / "in", tmp_path / "out", tmp_path / "weights.pt"))
    assert f"{tmp_path / 'weights.pt'}: not a file of plain tensors" in "".join(format_exception(caught.value))
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.nii.gz"))


NAMES = ("two words", "größe-漢字", "new\nline", "a;rm -rf b", "$HOME", "-x", "%s{0}", "'quoted\"")
HIDDEN = ("..", "..head")


def test_names_of_files_stay_names(tmp_path, weights, monkeypatch):
    source = tmp_path / "in"
    source.mkdir()
    for name in NAMES + HIDDEN:
        save_head(source / f"{name}.nii.gz", SHAPE, np.eye(3))
    before = set(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    run_bundle([CONFIG], **options(source, tmp_path / "out", weights))
    assert set(tmp_path.iterdir()) - before == {tmp_path / "out"}
    assert_complete(tmp_path / "out", list(NAMES))


@linux
def test_a_terminal_that_knows_ascii_only_and_a_home_that_cannot_be_written_do_no_harm(tmp_path, weights):
    names = ["größe-漢字", os.fsdecode(b"caf\xe9")]  # the second is no UTF-8
    (tmp_path / "in").mkdir()
    for name in names:
        save_head(tmp_path / "in" / f"{name}.nii.gz", SHAPE, np.eye(3))
    odd = {"PYTHONIOENCODING": "ascii", "HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none"}
    run = command(tmp_path / "in", tmp_path / "out", weights)
    ended = subprocess.run(run, capture_output=True, env={**environment(), **odd}, check=False)
    output = (ended.stdout + ended.stderr).decode("ascii")
    assert ended.returncode == 0, output
    assert "Traceback" not in output
    assert "gr\\xf6\\xdfe-\\u6f22\\u5b57.nii.gz: done in" in output
    assert "caf\\udce9.nii.gz: done in" in output
    assert_complete(tmp_path / "out", names)
