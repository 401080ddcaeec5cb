"""Each check of a bundle passes on a good one, and fails on a copy that is damaged where it looks."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
import torch
from tiny_bundle import NETWORK, edit, make_tiny_bundle, save_weights

from monai_mamba import MedSegMamba
from monai_mamba.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("good"))


@pytest.fixture
def bundle(good, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(good, tmp_path / "subcortical"))


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    pytest.importorskip("jsonschema", reason="the extra 'test' is not installed")
    return importlib.import_module("verify_bundle")


def lines_of(output: str) -> dict[str, tuple[str, str]]:
    """Status and detail by the name of the check."""
    found = re.findall(r"^  (ok|failed|skipped) +(.+?): (.*)$", output, re.MULTILINE)
    return {name: (status, detail) for status, name, detail in found}


def metadata(change: Callable[[dict], object]) -> Callable[[Path], None]:
    return lambda bundle: edit(bundle / "configs" / "metadata.json", change)


def config(name: str, change: Callable[[dict], object]) -> Callable[[Path], None]:
    return lambda bundle: edit(bundle / "configs" / name, change)


def write(name: str, text: str) -> Callable[[Path], None]:
    def damage(bundle: Path) -> None:
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).write_text(text, encoding="utf-8")

    return damage


def remove(name: str) -> Callable[[Path], None]:
    return lambda bundle: (bundle / name).unlink()


def image_format(**values: object) -> Callable[[Path], None]:
    return metadata(lambda data: data["network_data_format"]["inputs"]["image"].update(values))


def pred_format(**values: object) -> Callable[[Path], None]:
    return metadata(lambda data: data["network_data_format"]["outputs"]["pred"].update(values))


def large_file(bundle: Path) -> None:
    path = bundle / "sample_data" / "sub-0001_T1w.nii.gz"
    os.truncate(path, 25_000_001)


def one_other_byte(bundle: Path) -> None:
    path = bundle / "models" / "model.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class Payload:
    """An object that runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


FILE_DAMAGES = [
    ("files", remove("LICENSE"), "LICENSE missing or empty"),
    ("files", write("docs/data_license.txt", ""), r"docs/data_license\.txt missing or empty"),
    ("files", remove("docs/README.md"), r"docs/README\.md missing"),
    ("files", write("scripts/net.py", "x = 1"), r"net\.py: a bundle holds no Python"),
    ("files", large_file, r"sub-0001_T1w\.nii\.gz has 25,000,001 bytes, at most 25,000,000"),
    ("configs", write("configs/evaluate.json", '{"a": 1, "a": 2}'), r"evaluate\.json: .*Duplicate key: `a`"),
    ("configs", write("configs/evaluate.json", '{"a": 1'), r"evaluate\.json: .*Expected a JSON file"),
    ("metadata", metadata(lambda data: data.pop("intended_use")), "'intended_use' is a required property"),
    ("metadata", metadata(lambda data: data.update(optional_packages_version={})), "should not be valid under"),
    ("metadata", metadata(lambda data: data.update(version="v1")), "'v1' does not match"),
    ("metadata", metadata(lambda data: data["weights"]["models/model.pt"].pop("license")), "'license' is a required"),
    ("metadata", metadata(lambda data: data.update(copyright=" ")), "' ' does not match"),
    ("metadata", image_format(spatial_shape=["16n", "16n", "16n"]), "'16n'"),
    ("metadata", image_format(spatial_shape=["*", "*", "*"]), "'const': '\\*'"),
    ("metadata", pred_format(format="probabilities"), "'probabilities' is not one of"),
    ("metadata", pred_format(value_range=[0]), r"\[0\] is not valid"),
    ("versions", metadata(lambda data: data.update(version="0.1.1")), r"version 0\.1\.1 has no entry in changelog"),
    ("versions", metadata(lambda data: data["changelog"].update({"0.10.0": "x"})), r"changelog goes up to 0\.10\.0"),
    (
        "versions",
        metadata(lambda data: data.update(pytorch_version="2.0.0")),
        r"torch 2\.0\.0, expected [\d.]+ \(const",
    ),
    (
        "versions",
        metadata(lambda data: data["required_packages_version"].update({"monai-mamba": "0.0.9"})),
        r"monai-mamba 0\.0\.9, expected .* \(the version of the package\)",
    ),
    (
        "versions",
        metadata(lambda data: data["required_packages_version"].update(torchfoo="1.0")),
        r"torchfoo 1\.0, expected a version \(constraints\.txt\)",
    ),
    ("weights", one_other_byte, r"models/model\.pt: SHA-256 is [0-9a-f]{64}, expected"),
    ("weights", remove("models/model.pt"), r"models/model\.pt is in the metadata but not in the bundle"),
    ("weights", write("models/best.pt", "x"), r"models/best\.pt is not in the metadata"),
    ("weights", lambda bundle: save_weights(bundle, {"a": Payload()}), "not a file of plain tensors"),
    ("data", write("sample_data/sub-0002_T1w.nii.gz", "x"), r"does not name sample_data/sub-0002_T1w\.nii\.gz"),
]


@pytest.mark.parametrize(("check", "damage", "message"), FILE_DAMAGES)
def test_damaged_files(tool, bundle, monkeypatch, check, damage, message):
    monkeypatch.chdir(bundle.parent)
    damage(bundle)
    result = tool.make_check(check, lambda: tool.FILE_CHECKS[check](bundle))
    assert result.status == "failed"
    assert re.search(message, result.detail), result.detail
    assert [path.name for path in bundle.parent.iterdir()] == ["subcortical"]  # no code ran


def properties(*configs: str) -> Callable:
    return lambda tool, bundle: tool.check_properties(bundle, configs)


def network(*configs: str) -> Callable:
    return lambda tool, bundle: tool.check_network(bundle, configs)


def export(tool, bundle):
    return tool.check_export(bundle)


def wrap(bundle: Path) -> None:
    """Give the bundle the network that cannot be traced."""
    definition = {"_target_": "tiny_bundle.SizeDependent"}
    edit(bundle / "configs" / "inference.json", lambda data: data.update(network_def=definition))
    save_weights(bundle, {"head.weight": torch.rand(36, 1, 1, 1, 1), "head.bias": torch.rand(36)})


def steps_under_another_name(data: dict) -> None:
    data["steps"] = data["preprocessing"]
    data["dataset"]["transform"] = "@steps"


def metric_under_another_name(data: dict) -> None:
    data["score"] = data["validate#key_metric"]
    data["validate#evaluator#key_val_metric"] = "@score"


OTHER_STATE = MedSegMamba(**{**NETWORK, "d_state": 3}).state_dict()
WORKFLOW_DAMAGES = [
    (network("inference.json"), pred_format(num_channels=35), "channel number `36` doesn't match: `35`"),
    (network("inference.json"), pred_format(dtype="float16"), "dtype of output"),
    (network("inference.json"), image_format(num_channels=2), "expected input.* 1 channel|to have 1 channels"),
    (
        network("inference.json", "network_other.json"),
        config("network_other.json", lambda data: data["network_def"].update(channels=[8, 8, 8], depth="x")),
        "Error",
    ),
    (properties("inference.json"), config("inference.json", lambda data: data.pop("dataset_dir")), "dataset_dir"),
    (
        properties("inference.json"),
        config("inference.json", steps_under_another_name),
        "missing or misplaced: preprocessing",
    ),
    (
        properties("train.json", "evaluate.json"),
        config("evaluate.json", metric_under_another_name),
        "missing or misplaced: val_key_metric",
    ),
    (
        properties("train.json", "multi_gpu_train.json"),
        config("multi_gpu_train.json", lambda data: data.update({"train#sampler": {"_target_": "NoSuchSampler"}})),
        "NoSuchSampler",
    ),
    (export, lambda bundle: save_weights(bundle, OTHER_STATE), "belong to another network"),
    (export, wrap, "logits of the exported file differ by"),
]


@pytest.mark.parametrize(("check", "damage", "message"), WORKFLOW_DAMAGES)
def test_damaged_workflows(tool, bundle, check, damage, message):
    damage(bundle)
    result = tool.make_check("check", lambda: check(tool, bundle))
    assert result.status == "failed"
    assert re.search(message, result.detail), result.detail
    assert not torch.distributed.is_initialized()
    assert "LOCAL_RANK" not in os.environ


def test_command_says_what_is_good(tool, bundle, capsys):
    assert tool.main([str(bundle)]) == 0
    output = capsys.readouterr().out
    lines = lines_of(output)
    assert lines["run"] == ("skipped", "give --run")
    others = {name: status for name, (status, _) in lines.items() if status != "skipped"}
    assert set(others.values()) == {"ok"}
    assert set(tool.FILE_CHECKS) < set(others)
    workflows = {"inference.json", "train.json", "train.json + evaluate.json", "train.json + multi_gpu_train.json"}
    assert {f"properties {name}" for name in workflows} < set(others)
    assert lines["network inference.json + network_other.json"] == ("ok", "MedSegMamba, 5 channels")
    assert {"network inference.json", "export"} < set(others)
    assert output.splitlines()[-1] == f"{len(others)} ok, 0 failed, {len(lines) - len(others)} skipped"


def test_command_fails_with_a_line_and_a_status(tool, bundle, capsys):
    (bundle / "configs" / "train.json").write_text("{")
    assert tool.main([str(bundle), str(bundle / "docs")]) == 1
    output = capsys.readouterr().out
    lines = lines_of(output)
    assert lines["configs"][0] == "failed"
    assert "train.json" in lines["configs"][1]
    assert lines["network, properties, export, run"] == ("skipped", "fix first: configs")
    assert re.search(r"failed +\S+docs: no configs/metadata\.json; expected the folder of a MONAI bundle", output)
    assert output.splitlines()[-1] == "5 ok, 2 failed, 1 skipped"


def test_training_data_can_be_given(tool, bundle, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.move(bundle / "sample_data", data)
    result = tool.make_check("train", lambda: tool.check_properties(bundle, ["train.json"]))
    assert result.status == "skipped"
    assert tool.check_properties(bundle, ["train.json"], str(data)) == "complete (train)"
    with pytest.raises(SystemExit):
        tool.main([str(bundle), "--dataset_dir", f"subcortical/train.json={tmp_path / 'none'}"])
    assert "expected BUNDLE/CONFIG=FOLDER with a folder that is there" in capsys.readouterr().err


def test_run_fails_with_the_last_line_of_the_program(tool, bundle, monkeypatch):
    monkeypatch.setattr(subprocess, "run", forked.run)
    edit(bundle / "configs" / "inference.json", lambda data: data.update(overlap=2.0))
    with pytest.raises(InputError, match=r"exit status 1, 0 label maps: .*overlap"):
        tool.check_run(bundle)
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(tool.Skipped, match=r"no models/model\.pt"):
        tool.check_run(bundle)


def test_export_is_skipped_where_the_bundle_says_so_or_the_network_is_large(tool, bundle, monkeypatch):
    monkeypatch.setattr(tool, "LARGEST_EXPORT", 10)
    with pytest.raises(tool.Skipped, match="networks up to 10 are exported"):
        tool.check_export(bundle)
    (bundle / "docs" / "README.md").write_text("TorchScript is not supported.")
    with pytest.raises(tool.Skipped, match="says that TorchScript is not supported"):
        tool.check_export(bundle)


@pytest.mark.parametrize("name", ["subcortical", "hippocampal_subfields", "brats_multimodal"])
def test_files_of_the_shipped_bundles(tool, name):
    for check, function in tool.FILE_CHECKS.items():
        result = tool.make_check(check, lambda function=function: function(ROOT / "bundles" / name))
        assert result.status == "ok", result


def test_schema_is_a_schema():
    jsonschema = pytest.importorskip("jsonschema", reason="the extra 'test' is not installed")
    schema = json.loads((ROOT / "tools" / "release" / "bundle_schema.json").read_text(encoding="utf-8"))
    jsonschema.validators.validator_for(schema).check_schema(schema)
