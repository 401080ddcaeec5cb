"""`bundle_root` finds the bundle that is running, wherever it lies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow

from monai_mamba.bundle import bundle_root, results_root

REPOSITORY = Path(__file__).resolve().parents[1]


def make_bundle(root: Path, name: str = "subcortical", title: str = "Subcortical", asks: str | None = None) -> Path:
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "metadata.json").write_text(json.dumps({"name": title, "version": "0.1.0"}))
    config = {
        "imports": ["$from monai_mamba.bundle import bundle_root"],
        "bundle_root": f"$bundle_root('{asks or name}')",
        "initialize": ["$None"],
        "run": ["$@bundle_root"],
    }
    (root / "configs" / "inference.json").write_text(json.dumps(config))
    return root


def run(root: Path) -> str:
    workflow = ConfigWorkflow(str(root / "configs" / "inference.json"), workflow_type="infer", logging_file=False)
    workflow.initialize()
    return workflow.run()[0]


@pytest.mark.parametrize("folder", ["subcortical", "renamed"])
def test_a_copy_finds_itself_from_any_folder(tmp_path, monkeypatch, folder):
    copy = make_bundle(tmp_path / "copies" / folder)
    decoy = make_bundle(tmp_path / "here" / "bundles" / "subcortical")
    monkeypatch.chdir(decoy.parents[1])
    assert run(copy) == str(copy)


def test_a_relative_config_path_works(tmp_path, monkeypatch):
    copy = make_bundle(tmp_path / "copies" / "subcortical")
    monkeypatch.chdir(tmp_path / "copies")
    assert run(Path("subcortical")) == str(copy)


def test_a_bundle_can_ask_for_its_neighbor(tmp_path, monkeypatch):
    other = make_bundle(tmp_path / "subcortical")
    asking = make_bundle(tmp_path / "hippocampal_subfields", title="Hippocampal subfields", asks="subcortical")
    monkeypatch.chdir(tmp_path)
    assert run(asking) == str(other)


def test_without_a_workflow_the_working_folder_comes_before_the_checkout(tmp_path, monkeypatch):
    bundle = make_bundle(tmp_path / "bundles" / "subcortical")
    for folder in (tmp_path, bundle):
        monkeypatch.chdir(folder)
        assert bundle_root("subcortical") == str(bundle)


def test_the_checkout_is_the_last_resort(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bundle_root("subcortical") == str(REPOSITORY / "bundles" / "subcortical")


def test_an_unknown_bundle_is_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bundle_root("no_such_bundle") == "."


def test_results_never_go_into_an_installed_package(tmp_path, monkeypatch):
    root = str(make_bundle(tmp_path / "bundles" / "subcortical"))
    assert results_root(root) == root
    monkeypatch.setattr("monai_mamba.bundle.os.access", lambda path, mode: False)
    assert results_root(root) == "."
    monkeypatch.undo()
    monkeypatch.chdir("/")
    monkeypatch.setattr("monai_mamba.bundle.PACKAGE", tmp_path)
    assert results_root(root) == "."
    assert bundle_root("subcortical") == root
