"""A packed bundle runs by itself and is found by MONAI; what is not fit to be shared is not packed."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import forked
import monai.bundle
import pytest
import torch
from tiny_bundle import edit, make_tiny_bundle

from monai_mamba.errors import InputError, OutputError, WeightsError

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "configs/inference.json"
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A bundle with things in its folder that are nobody's business."""
    bundle = make_tiny_bundle(tmp_path_factory.mktemp("good"))
    for name in ("eval/scan.nii.gz", "dataset/patient.nii.gz", "models/.cache", "notes.txt", "configs/.inference.json"):
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).write_text("private")
    return bundle


@pytest.fixture
def bundle(good, tmp_path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "bundles" / "subcortical"))


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    pytest.importorskip("jsonschema", reason="the extra 'test' is not installed")
    return importlib.import_module("pack_bundle")


def contents(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_configs_differ_in_their_root_alone(tool, good, tmp_path, capsys):
    assert tool.main([str(good), "--output_dir", str(tmp_path / "packed")]) == 0
    packed = tmp_path / "packed" / "subcortical"
    assert capsys.readouterr().out == f"Wrote {packed}.\n"
    roots = []
    for path in (packed / "configs").glob("*.json"):
        before, after = (json.loads((folder / "configs" / path.name).read_text()) for folder in (good, packed))
        if "bundle_root" in before:
            roots.append((before.pop("bundle_root"), after.pop("bundle_root")))
        assert before == after
    assert len(roots) >= 2  # inference, train
    assert set(roots) == {("$monai_mamba.bundle_root('subcortical')", ".")}


def test_only_what_belongs_to_the_bundle_is_packed(tool, good, tmp_path):
    packed = tool.pack(good, tmp_path)
    private = {"eval/scan.nii.gz", "dataset/patient.nii.gz", "models/.cache", "notes.txt", "configs/.inference.json"}
    assert contents(packed) == (contents(good) - private) | {"README.md"}
    unchanged = {"LICENSE", "models/model.pt", "docs/data_license.txt", "configs/metadata.json", "configs/logging.conf"}
    assert all((packed / name).read_bytes() == (good / name).read_bytes() for name in unchanged)
    assert [path.name for path in tmp_path.iterdir()] == ["subcortical"]


def test_a_packed_bundle_passes_the_checks_and_runs_with_what_it_holds(tool, good, tmp_path, monkeypatch):
    verify = importlib.import_module("verify_bundle")
    packed = tool.pack(good, tmp_path)
    for name, check in verify.FILE_CHECKS.items():
        assert verify.make_check(name, lambda check=check: check(packed)).status == "ok", name
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", forked.run)
        assert verify.check_run(packed) == "1 label maps"
    assert not (packed / "eval").exists()

    (packed / "models" / "model.pt").unlink()
    monkeypatch.chdir(packed)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the run changes it
    with pytest.raises(RuntimeError) as failure:
        monai.bundle.run(config_file=CONFIG, output_dir=str(tmp_path / "none"), device="cpu")
    assert isinstance(failure.value.__cause__, WeightsError)


def test_monai_loads_a_packed_bundle_from_the_disk(tool, good, tmp_path):
    tool.pack(good, tmp_path)
    network = monai.bundle.load("subcortical", bundle_dir=str(tmp_path), workflow_type="inference", device="cpu")
    expected = torch.load(good / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
    workflow = monai.bundle.create_workflow(
        config_file=str(tmp_path / "subcortical" / CONFIG),
        workflow_type="inference",
        logging_file=False,
        bundle_root=str(tmp_path / "subcortical"),
    )
    assert workflow.check_properties() == []


def test_monai_downloads_a_packed_bundle_from_an_archive(tool, good, tmp_path):
    tool.pack(good, tmp_path / "packed")
    archive = shutil.make_archive(str(tmp_path / "subcortical"), "zip", tmp_path / "packed", "subcortical")
    monai.bundle.download("subcortical", bundle_dir=str(tmp_path / "here"), url=Path(archive).as_uri(), progress=False)
    assert contents(tmp_path / "here" / "subcortical") == contents(tmp_path / "packed" / "subcortical")


def test_weights_that_lie_elsewhere(tool, good, tmp_path):
    whole = tool.pack(good, tmp_path / "whole")
    light = tool.pack(good, tmp_path / "light", url_prefix=whole.as_uri() + "/")
    assert contents(light) == (contents(whole) - {"models/model.pt"}) | {"large_files.yml"}
    digest = json.loads((good / "configs" / "metadata.json").read_text())["weights"]["models/model.pt"]["sha256"]
    assert (light / "large_files.yml").read_text().splitlines() == [
        "large_files:",
        '  - path: "models/model.pt"',
        f'    url: "{whole.as_uri()}/models/model.pt"',
        f'    hash_val: "{digest}"',
        '    hash_type: "sha256"',
    ]
    files = importlib.import_module("release.bundle_files")
    assert files.check_weights(light) == "0 here, 1 in large_files.yml"
    pytest.importorskip("yaml", reason="MONAI needs PyYAML to read large_files.yml")
    monai.bundle.download_large_files(bundle_path=str(light))
    assert (light / "models" / "model.pt").read_bytes() == (whole / "models" / "model.pt").read_bytes()


@pytest.fixture(scope="module")
def two_stages(good, tmp_path_factory) -> Path:
    """The hippocampal bundle, without its weights, beside the one it starts from."""
    folder = tmp_path_factory.mktemp("bundles")
    shutil.copytree(good, folder / "subcortical")
    bundle = folder / "hippocampal_subfields"
    ignored = shutil.ignore_patterns("models", "eval")
    shutil.copytree(ROOT / "bundles" / "hippocampal_subfields", bundle, ignore=ignored)
    edit(bundle / "configs" / "metadata.json", lambda data: data.update(weights={}))
    return bundle


def test_a_bundle_carries_its_first_stage_along(tool, two_stages, tmp_path, monkeypatch):
    packed = tool.pack(two_stages, tmp_path)
    stage = packed / "subcortical"
    assert contents(stage) == contents(tool.pack(two_stages.parent / "subcortical", tmp_path)) - {"README.md"}
    monkeypatch.chdir(packed)
    parser = monai.bundle.ConfigParser()
    parser.read_config(CONFIG)
    for key in ("input", "first_weights"):
        path = Path(parser.get_parsed_content(key))
        assert path.resolve().is_relative_to(stage)
        assert path.is_file()
    assert json.loads((stage / CONFIG).read_text())["bundle_root"] == "."
    light = tool.pack(two_stages, tmp_path / "light", url_prefix="https://host/x")
    assert not list(light.rglob("*.pt"))
    assert '"https://host/x/subcortical/models/model.pt"' in (light / "large_files.yml").read_text()


@pytest.mark.parametrize("name", ["README.md", "docs/README.md", "subcortical/docs/README.md"])
def test_documents_speak_of_the_packed_folder(tool, two_stages, tmp_path, name):
    packed = tool.pack(two_stages, tmp_path)
    text = (packed / name).read_text()
    root = packed / "subcortical" if name.startswith("subcortical") else packed
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith(("http", "#"))]
    assert links
    assert all((packed / name).parent.joinpath(link).exists() for link in links), links
    commands = [line for line in text.splitlines() if "--config_file" in line and "tools/" not in line]
    named = {path for line in commands for path in re.findall(r"[\w/.]*configs/\w+\.json", line)}
    assert named
    assert all((root / path).is_file() for path in named), named


def test_the_card_names_the_license_of_the_weights(tool, bundle, two_stages, tmp_path):
    card = (tool.pack(two_stages, tmp_path / "none") / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: monai\n")
    weights = {"license": "CC BY-SA 4.0"}
    edit(bundle / "configs" / "metadata.json", lambda data: data["weights"]["models/model.pt"].update(weights))
    card = (tool.pack(bundle, tmp_path / "other") / "README.md").read_text()
    assert card.startswith("---\nlicense: cc-by-sa-4.0\n")


def test_what_is_unfit_is_refused_and_leaves_nothing(tool, bundle, tmp_path, capsys):
    output = tmp_path / "packed"
    edit(bundle / "configs" / "metadata.json", lambda data: data.update(version="0.2.0"))
    assert tool.main([str(bundle), "--output_dir", str(output)]) == 1
    assert re.search(r"Error: \S+ is not packed: version 0\.2\.0 has no entry in changelog", capsys.readouterr().err)
    edit(bundle / "configs" / "metadata.json", lambda data: data.update(version="0.1.0"))
    with pytest.raises(InputError, match=r"--url_prefix host: expected a URL"):
        tool.pack(bundle, output, "host")
    with pytest.raises(InputError, match=r"docs: no configs/metadata\.json"):
        tool.pack(bundle / "docs", output)
    edit(bundle / CONFIG, lambda data: data.update(other="$monai_mamba.bundle_root(@task)"))
    with pytest.raises(InputError, match=r"inference\.json: asks for a bundle in a way that cannot be packed"):
        tool.pack(bundle, output)
    assert not output.exists() or not list(output.iterdir())


def test_a_missing_first_stage_is_refused(tool, two_stages, tmp_path):
    alone = Path(shutil.copytree(two_stages, tmp_path / "hippocampal_subfields"))
    with pytest.raises(InputError, match=r"subcortical: no configs/metadata\.json"):
        tool.pack(alone, tmp_path / "packed")


def test_nothing_is_replaced_or_half_written(tool, good, tmp_path, monkeypatch):
    (tmp_path / "subcortical").mkdir()
    with pytest.raises(OutputError, match="already exists and is not replaced"):
        tool.pack(good, tmp_path)
    assert not list((tmp_path / "subcortical").iterdir())

    copies = []

    def disk_full(source: Path, target: Path) -> None:
        copies.append(target)
        if len(copies) > 3:
            raise OSError(28, "No space left on device")
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(shutil, "copyfile", disk_full)
    with pytest.raises(OutputError, match=r"cannot be written .*No space left"):
        tool.pack(good, tmp_path / "packed")
    assert len(copies) == 4
    assert not list((tmp_path / "packed").iterdir())
