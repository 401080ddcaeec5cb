"""The package as pip installs it: its bundles come along and run anywhere."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tiny_bundle import make_tiny_bundle

ROOT = Path(__file__).resolve().parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
COMMANDS = """
import runpy, sys
for words in ("info", "run subcortical --input scan#2.nii.gz --device cpu --progress False"):
    sys.argv = ["monai_mamba", *words.split()]
    try:
        runpy.run_module("monai_mamba", run_name="__main__")
    except Exception as error:
        print("Error:", error)
"""


@pytest.fixture
def source(tmp_path) -> Path:
    """What a wheel is made from, with a tiny bundle and without the weights of the others."""
    folder = tmp_path / "source"
    ignored = shutil.ignore_patterns("*.pt", "__pycache__", "subcortical", "dataset", "eval")
    for name in ("monai_mamba", "bundles"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, folder / name)
    bundle = make_tiny_bundle(folder / "bundles")
    for name in ("eval/scan.nii.gz", "dataset/patient.nii.gz", "notes.txt"):
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).write_text("private")
    return folder


def test_an_installed_package_runs_its_bundles_in_an_empty_folder(source, tmp_path, monkeypatch):
    pytest.importorskip("setuptools", minversion="77", reason="the extra 'test' is not installed")
    monkeypatch.syspath_prepend(ROOT / "tools")
    bundle_files = importlib.import_module("release.bundle_files").bundle_files
    options = ["-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path)]
    subprocess.run([*PIP, "wheel", *options, str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("monai_mamba/bundles/")}
    files = [file.relative_to(source) for bundle in (source / "bundles").iterdir() for file in bundle_files(bundle)]
    assert "monai_mamba/py.typed" in zipfile.ZipFile(wheel).namelist()
    assert shipped == {f"monai_mamba/{file.as_posix()}" for file in files}

    installed, here = tmp_path / "installed", tmp_path / "here"
    zipfile.ZipFile(wheel).extractall(installed)  # what pip does with it
    here.mkdir()
    shutil.copyfile(source / "bundles/subcortical/sample_data/sub-0001_T1w.nii.gz", here / "scan#2.nii.gz")

    command, environment = [sys.executable, "-c", COMMANDS], {**os.environ, "PYTHONPATH": str(installed)}
    ended = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    root = installed / "monai_mamba" / "bundles" / "subcortical"
    assert f"Bundle subcortical 0.1.0 in {root}\n- models/model.pt: ok, SHA-256 " in ended.stdout
    assert "Error: 3 weights files of the bundles are not what they should be, see above.\n" in ended.stdout
    assert (here / "eval" / "scan#2_desc-subcortical_dseg.nii.gz").is_file()
    assert not (root / "eval").exists()


def test_the_bundles_fit_into_a_wheel(monkeypatch):
    """PyPI takes up to 100 MB; weights and images do not get smaller in a wheel."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    bundle_files = importlib.import_module("release.bundle_files").bundle_files
    assert sum(file.stat().st_size for bundle in (ROOT / "bundles").iterdir() for file in bundle_files(bundle)) < 95e6
