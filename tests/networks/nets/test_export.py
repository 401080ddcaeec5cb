"""Networks as files: TorchScript, torch.export and ONNX, for sizes they were not exported with."""

from __future__ import annotations

import warnings

import pytest
import torch
from test_all_networks import build, image

EXPORTED, OTHERS = (2, 2, 3), [(3, 2, 4), (4, 3, 2)]  # in multiples of the strides


SHALLOW = {
    "MedSegMamba": {"depth": 1},
    "MedSegMamba-coarse": {"depth": 1},
    "MSDKMamba": {"depths": (0, 0, 1, 1)},
    "SegMaFormer": {"depths": (0, 0, 1, 1)},
    "SegMamba": {"depths": (0, 0, 1, 1)},
    "SegMambaBot": {"depth": 1},
    "TABSurfer": {"depth": 1},
}


def shallow(name):
    return build(name, **SHALLOW[name])


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def dynamic_shapes(stride):
    sizes = {2 + axis: stride * torch.export.Dim("hwd"[axis], min=2, max=16) for axis in range(3)}
    return ({0: torch.export.Dim("batch", min=1, max=16), **sizes},)


@pytest.mark.parametrize("name", SHALLOW)
def test_torchscript_takes_other_sizes_and_needs_no_operator_of_ours(name):
    network = shallow(name)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, (image(network, *EXPORTED),), check_trace=False)
        assert "monai_mamba::" not in str(traced.inlined_graph)
        for batch, multiples in enumerate(OTHERS, start=1):
            x = image(network, *multiples, batch=batch)
            assert_same(traced(x), network(x))


def export(network):
    with torch.no_grad():
        return torch.export.export(network, (image(network, *EXPORTED),), dynamic_shapes=dynamic_shapes(network.stride))


@pytest.mark.parametrize("name", SHALLOW)
def test_exported_program_keeps_the_logits(name):
    network = shallow(name)
    x = image(network, 1, 2, 1)
    with torch.no_grad():
        assert_same(torch.export.export(network, (x,)).module()(x), network(x))


def test_exported_program_interpolates_its_positions_to_other_sizes():
    network = shallow("TABSurfer")
    program = export(network)
    with torch.no_grad():
        for batch, multiples in enumerate(OTHERS, start=1):
            x = image(network, *multiples, batch=batch)
            assert_same(program.module()(x), network(x))


def test_exported_program_and_its_onnx_file_take_other_sizes_and_need_no_operator_of_ours(tmp_path):
    onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    network = shallow("MedSegMamba-coarse")
    program = export(network)
    assert "monai_mamba" not in str(program.graph)
    path = str(tmp_path / "network.onnx")
    torch.onnx.export(program, dynamo=True, verbose=False).save(path)
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        for batch, multiples in enumerate(OTHERS, start=1):
            x = image(network, *multiples, batch=batch)
            expected = network(x)
            assert_same(program.module()(x), expected)
            (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
            assert_same(torch.from_numpy(found), expected)
