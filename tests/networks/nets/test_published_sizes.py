"""Parameter counts of the published configurations and of the presets, without allocating them."""

from __future__ import annotations

import pytest
import torch

import monai_mamba


def count(build, **arguments):
    with torch.device("meta"):
        return sum(p.numel() for p in build(**arguments).parameters())


@pytest.mark.parametrize(
    ("name", "arguments", "parameters"),
    [
        ("MedSegMamba", {}, 84_400_736),
        ("MedSegMamba", {"out_channels": 25}, 84_400_281),
        ("SegMamba", {}, 67_416_196),
        ("SegMamba", {"in_channels": 1, "out_channels": 13}, 67_363_213),
        ("SegMamba", {"in_channels": 1, "out_channels": 32}, 67_364_144),
        ("SegMaFormer", {}, 2_024_049),
        ("SegMaFormer", {"out_channels": 4}, 2_024_306),
        ("SegMambaBot", {}, 108_251_744),
        ("SegMambaBot", {"d_state": 64}, 116_214_368),
        ("TABSurfer", {}, 83_203_904),
        ("TABSurfer", {"out_channels": 25}, 83_203_673),
    ],
)
def test_published_configuration_is_the_default(name, arguments, parameters):
    assert count(getattr(monai_mamba, name), **arguments) == parameters


def test_parts_have_the_published_sizes():
    with torch.device("meta"):
        medsegmamba, segmamba, tabsurfer = monai_mamba.MedSegMamba(), monai_mamba.SegMamba(), monai_mamba.TABSurfer()

    def size(module):
        return sum(p.numel() for p in module.parameters())

    assert [size(e) for e in medsegmamba.encoders] == [28_768, 168_384, 672_640, 2_688_768]
    assert {size(block) for block in medsegmamba.blocks} == {6_868_992}
    assert [size(d) for d in medsegmamba.decoders] == [1_360_768, 340_416, 225_728]
    assert [size(layer) for layer in segmamba.gated_convs] == [129_216, 516_480, 2_065_152, 8_259_072]
    assert [size(layers[0]) for layers in segmamba.mamba_layers] == [31_488, 94_080, 312_576, 1_122_816]
    assert [size(e) for e in segmamba.encoders] == [67_584, 377_856, 1_511_424, 6_045_696, 24_182_784]
    assert size(tabsurfer.blocks) == 61_928_960
    assert tabsurfer.position.numel() == 1_769_472


@pytest.mark.parametrize(
    ("name", "parameters", "for_training_only"),
    [
        ("msd_kmamba_small", 8_898_024, 3_632),
        ("MSDKMamba", 19_926_064, 8_136),
        ("msd_kmamba_large", 35_340_280, 14_432),
    ],
)
def test_reconstruction_has_the_stated_size(name, parameters, for_training_only):
    with torch.device("meta"):
        network = getattr(monai_mamba, name)()
    projections = sum(p.numel() for p in network.projections.parameters())
    assert projections == for_training_only
    assert sum(p.numel() for p in network.parameters()) == parameters + for_training_only


def test_rational_layers_cost_hardly_more_than_an_mlp_and_splines_much_more():
    rational, mlp, spline = (count(monai_mamba.MSDKMamba, kan=kan) for kan in ("rational", None, "spline"))
    assert rational - mlp == 6 * 2 * (6 + 8 * 4)  # six blocks of two activations
    widths = (48, 96, 192, 192, 384, 384)
    assert spline - mlp == sum(8 * 4 * c**2 - 3 * c for c in widths)  # without biases


@pytest.mark.parametrize(
    "name", ["medsegmamba_small", "msd_kmamba_small", "segmamba_small", "segmamba_bot_small", "tabsurfer_small"]
)
def test_presets_are_small_and_take_the_arguments_of_their_network(name):
    preset = getattr(monai_mamba, name)
    assert 1e6 < count(preset) < 1e7
    with torch.device("meta"):
        network = preset(3, 7, channels=(8, 8, 16, 16, 32))
    first = next(m for m in network.modules() if isinstance(m, torch.nn.Conv3d))
    assert first.in_channels % 3 == 0
    head = network.heads[0] if name == "msd_kmamba_small" else network.head
    assert head.out_channels % 7 == 0
    assert count(preset, channels=(8, 8, 16, 16, 32)) < 1e6
