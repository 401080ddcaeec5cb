"""The shipped weights as files that need no monai_mamba: the same logits as the network itself."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch

import monai_mamba

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "subcortical"
CONFIG = str(BUNDLE / "configs" / "inference.json")
MIDDLE = (slice(36, 132), slice(53, 149), slice(54, 150))  # of the sample scan, around the thalami
ELSEWHERE = """
import sys
sys.modules["monai_mamba"] = None  # importing it fails
import torch
script, program, data = sys.argv[1:]
data = torch.load(data)
with torch.no_grad():
    for network in (torch.jit.load(script), torch.export.load(program).module()):
        torch.testing.assert_close(network(data["image"]), data["logits"], rtol=0, atol=1e-4)
"""


@pytest.fixture(scope="module")
def torchscript(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("export") / "model.ts")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monai.bundle.ckpt_export(bundle_root=str(BUNDLE), config_file=CONFIG, filepath=path, use_trace=True)
    return path


@pytest.fixture(scope="module")
def window() -> torch.Tensor:
    head = torch.from_numpy(np.asarray(nib.load(BUNDLE / "sample_data" / "sub-0001_T1w.nii.gz").dataobj, np.float32))
    conformed = head[MIDDLE].permute(0, 2, 1).flip(0, 1)  # from RAS to LIA
    return (conformed[24:72, 24:72, 24:72] / head.max()).contiguous()[None, None]


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    network = monai_mamba.medsegmamba_small(1, 36).eval()
    network.load_state_dict(torch.load(BUNDLE / "models" / "model.pt", weights_only=True))
    return network


def test_torchscript_gives_the_same_logits(torchscript, window, network):
    with torch.no_grad():
        logits, found = network(window), torch.jit.load(torchscript)(window)
    assert len(logits.argmax(1).unique()) > 5
    torch.testing.assert_close(found, logits, rtol=0, atol=1e-4)


def test_every_format_gives_the_same_logits_and_runs_without_the_package(torchscript, window, network, tmp_path):
    onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    with torch.no_grad():
        logits = network(window)
        program = torch.export.export(network, (window,))
    assert len(logits.argmax(1).unique()) > 5

    torch.export.save(program, tmp_path / "model.pt2")
    torch.save({"image": window, "logits": logits}, tmp_path / "data.pt")
    files = [torchscript, str(tmp_path / "model.pt2"), str(tmp_path / "data.pt")]
    subprocess.run([sys.executable, "-W", "ignore", "-c", ELSEWHERE, *files], check=True)

    path = str(tmp_path / "model.onnx")
    torch.onnx.export(program, dynamo=True, verbose=False).save(path)
    onnx.checker.check_model(path, full_check=True)
    assert_same(onnxruntime, path, window, logits)


def assert_same(onnxruntime, path: str, window: torch.Tensor, logits: torch.Tensor) -> None:
    """The ONNX file gives these logits, and the labels but for ties."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: window.numpy()})
    np.testing.assert_allclose(found, logits.numpy(), rtol=0, atol=1e-4)  # the largest logits are about 30
    two = logits.topk(2, dim=1).values
    clear = (two[:, 0] - two[:, 1] > 2e-4).numpy()
    assert clear.mean() > 0.99
    assert np.array_equal(found.argmax(1)[clear], logits.argmax(1).numpy()[clear])


def test_the_command_of_monai_writes_the_same_as_onnx(window, network, tmp_path):
    pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    path = str(tmp_path / "model.onnx")
    monai.bundle.onnx_export(
        net_id="network",
        filepath=path,
        ckpt_file=str(BUNDLE / "models" / "model.pt"),
        config_file=CONFIG,
        input_shape=list(window.shape),
        device="cpu",
    )
    with torch.no_grad():
        assert_same(onnxruntime, path, window, network(window))
