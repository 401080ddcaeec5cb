"""Published checkpoints through the converter, up to the outputs of the networks."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest
import torch

import monai_mamba
from monai_mamba.errors import InputError, WeightsError

TOOL = Path(__file__).resolve().parents[2] / "tools" / "convert_weights.py"
SLICES = {
    "MedSegMamba": {},
    "SegMamba": {"num_slices": (64, 32, 16, 8)},
}  # of the published SegMamba, for any image size
TOLERANCE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("convert_weights", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["MedSegMamba", "SegMamba"])
def golden(request, shared):
    """Name of a network, and inputs, outputs and weights of its published code."""
    safetensors = pytest.importorskip("safetensors.torch")
    tensors = safetensors.load_file(shared / "golden" / f"{request.param.lower()}.safetensors")
    weights = {k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights.")}
    return request.param, tensors, weights


def parts(network):
    """Modules whose inputs and outputs the golden file holds, by its names."""
    if isinstance(network, monai_mamba.MedSegMamba):
        return {f"ss3d{i}": block.mixer for i, block in enumerate(network.blocks)}
    gates = {f"gsc{i}": network.gated_convs[i] for i in (2, 3)}
    return gates | {f"mamba_layer{i}": network.mamba_layers[i][0] for i in (1, 2, 3)}


def test_converted_network_gives_the_published_outputs(tool, golden):
    name, tensors, weights = golden
    converted = tool.convert(weights)
    assert converted.network == name
    network = getattr(monai_mamba, name)(**converted.arguments, **SLICES[name]).eval()
    network.load_state_dict(converted.state)
    with torch.no_grad():
        torch.testing.assert_close(network(tensors["input"]), tensors["logits"], **TOLERANCE)
        for key, part in parts(network).items():
            torch.testing.assert_close(part(tensors[f"{key}_in"]), tensors[f"{key}_out"], **TOLERANCE)


def test_command_line_writes_a_plain_state_dict_and_says_what_it_dropped(tool, golden, tmp_path, monkeypatch, capsys):
    name, _, weights = golden
    source, target = tmp_path / "published.pth", tmp_path / "model.pt"
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in weights.items()}}, source)
    monkeypatch.setattr(sys, "argv", ["convert_weights.py", str(source), str(target)])
    assert tool.main() == 0
    printed = capsys.readouterr().out.splitlines()
    arguments = json.loads(printed[1].removeprefix("network: "))
    network = getattr(monai_mamba, arguments.pop("_target_"))(**arguments)
    network.load_state_dict(torch.load(target, weights_only=True))
    dropped = [key for key in weights if ".scans." in key]
    assert printed[2] == f"dropped {len(dropped)} entries"
    assert sorted(line.strip() for line in printed[3:]) == sorted(dropped)
    assert len(dropped) == (12 if name == "MedSegMamba" else 0)
    assert {path.name for path in tmp_path.iterdir()} == {"published.pth", "model.pt"}


def test_missing_and_misshapen_tensors_are_named(tool, golden):
    name, _, weights = golden
    head = "Conv_1x1" if name == "MedSegMamba" else "out.conv.conv"
    with pytest.raises(WeightsError, match=r"head\.bias"):
        tool.convert({key: value for key, value in weights.items() if key != f"{head}.bias"})
    with pytest.raises(WeightsError, match=r"size mismatch for head\.bias.*\[77\]"):
        tool.convert(weights | {f"{head}.bias": torch.zeros(77)})
    with pytest.raises(WeightsError, match=r"incomplete"):
        tool.convert({key: value for key, value in weights.items() if not key.startswith(head)})


def test_other_networks_are_refused(tool):
    with pytest.raises(WeightsError, match=r"found \['conv\.weight'\]"):
        tool.convert({"conv.weight": torch.zeros(1)})


class Payload:
    """An object that runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_code_in_a_checkpoint_is_not_run(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weights": Payload()}, "bad.pth")
    with pytest.raises(WeightsError, match=r"bad\.pth: not a file of plain tensors"):
        tool.convert_file(Path("bad.pth"), Path("model.pt"))
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pth"]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_damaged_file(tool, tmp_path, content):
    source = tmp_path / "damaged.pth"
    source.write_bytes(content)
    with pytest.raises(WeightsError, match=r"damaged\.pth: not a file of plain tensors"):
        tool.convert_file(source, tmp_path / "model.pt")


def test_missing_file_fails_with_a_sentence_and_a_status(tool, tmp_path, monkeypatch, capsys):
    with pytest.raises(InputError, match=r"none\.pth: the file cannot be read \(No such file"):
        tool.convert_file(tmp_path / "none.pth", tmp_path / "model.pt")
    monkeypatch.setattr(sys, "argv", ["convert_weights.py", str(tmp_path / "none.pth"), str(tmp_path / "model.pt")])
    assert tool.main() == 1
    assert capsys.readouterr().err.startswith("Error: ")


def test_a_single_tensor_is_not_a_checkpoint(tool, tmp_path):
    torch.save(torch.zeros(2), tmp_path / "tensor.pth")
    with pytest.raises(WeightsError, match=r"tensor\.pth: expected a state dict \(names and tensors\)"):
        tool.convert_file(tmp_path / "tensor.pth", tmp_path / "model.pt")
