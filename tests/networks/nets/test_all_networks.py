"""What every network promises, tried on tiny configurations of each."""

from __future__ import annotations

import copy

import pytest
import torch

import monai_mamba
from monai_mamba.errors import InputError

TINY = {"in_channels": 2, "out_channels": 3}
CNN = {"channels": (8, 16, 24), "depth": 2}
NETWORKS = {
    "MedSegMamba": (monai_mamba.MedSegMamba, TINY | CNN | {"d_state": 4}),
    "MedSegMamba-coarse": (
        monai_mamba.MedSegMamba,
        TINY | CNN | {"d_state": 4, "stem_stride": 2, "final_channels": 8},
    ),
    "MSDKMamba": (
        monai_mamba.MSDKMamba,
        TINY | {"channels": (8, 8, 8, 16, 16), "depths": (1, 1, 1, 1), "d_state": 2},
    ),
    "SegMaFormer": (
        monai_mamba.SegMaFormer,
        TINY
        | {
            "channels": (6, 8, 8, 12),
            "depths": (1, 1, 1, 1),
            "d_state": (2, 2, 2),
            "num_heads": 2,
            "mlp_ratio": 2,
            "decoder_channels": 8,
            "layer_scale": 1.0,
        },
    ),
    "SegMamba": (
        monai_mamba.SegMamba,
        TINY | {"channels": (8, 8, 8, 8, 16), "depths": (1, 1, 1, 2), "d_state": 4},
    ),
    "SegMambaBot": (monai_mamba.SegMambaBot, TINY | CNN | {"d_state": 4}),
    "TABSurfer": (monai_mamba.TABSurfer, TINY | CNN | {"num_heads": 4, "img_size": 8}),
}
MAMBA = [name for name in NETWORKS if name != "TABSurfer"]
LEARNS_ELSEWHERE = {  # parameters that the logits at inference do not depend on
    "MSDKMamba": ("projections.",),  # of the features, for the loss
    "TABSurfer": ("unused_norm.",),
}
MIXER = {  # parts of the names of parameters that a twin without mixer does not have
    "MSDKMamba": (".mixer.", ".mixer_norm."),
    "SegMaFormer": (".mixer.scan.", ".mixer.gate."),
    "SegMamba": ("mamba_layers",),
}


def build(name, **changes):
    network, arguments = NETWORKS[name]
    torch.manual_seed(0)
    return network(**(arguments | changes)).eval()


def image(network, *multiples, batch=2):
    torch.manual_seed(1)
    return torch.randn(batch, TINY["in_channels"], *(network.stride * m for m in multiples))


@pytest.fixture(params=NETWORKS)
def name(request):
    return request.param


@pytest.mark.parametrize("multiples", [(2, 2, 2), (1, 2, 3), (3, 1, 2)])
def test_logits_have_the_size_of_the_image(name, multiples):
    network = build(name)
    x = image(network, *multiples)
    with torch.no_grad():
        logits = network(x)
    assert logits.shape == (2, 3, *x.shape[2:])
    assert logits.isfinite().all()
    assert logits.min() < 0  # not probabilities


def test_samples_of_a_batch_do_not_mix(name):
    network = build(name)
    x = image(network, 2, 1, 2)
    with torch.no_grad():
        together, alone = network(x), network(x[1:])
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)


def test_every_parameter_learns(name):
    network = build(name)
    network(image(network, 1, 2, 2)).square().mean().backward()
    still = {key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    elsewhere = LEARNS_ELSEWHERE.get(name, ())
    assert still == {key for key, _ in network.named_parameters() if elsewhere and key.startswith(elsewhere)}
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_same_seed_same_network_same_logits(name):
    network, again = build(name), build(name)
    x = image(network, 2, 1, 2)
    with torch.no_grad():
        assert torch.equal(network(x), again(x))


def test_state_dict_restores_the_network(name, tmp_path):
    network = build(name)
    x = image(network, 1, 2, 1)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    with torch.no_grad():
        other = build(name)
        for p in other.parameters():
            p.add_(torch.randn_like(p))
        assert not torch.equal(other(x), network(x))
        other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
        assert torch.equal(other(x), network(x))


def test_state_dict_holds_parameters_only(name):
    network = build(name)
    with torch.no_grad():
        network(image(network, 1, 2, 1))  # fills every cache
    assert set(network.state_dict()) == {key for key, _ in network.named_parameters()}


@pytest.mark.parametrize("axis", range(3))
def test_sizes_that_the_strides_do_not_divide_are_refused(name, axis):
    network = build(name)
    size = [2 * network.stride] * 3
    size[axis] += network.stride // 2
    with pytest.raises(InputError, match=f"multiples of {network.stride}, but axis {'HWD'[axis]} has {size[axis]}"):
        network(torch.zeros(1, 2, *size))


def test_only_volumes_are_supported(name):
    with pytest.raises(ValueError, match="spatial_dims=3 only, got 2"):
        build(name, spatial_dims=2)


@pytest.mark.parametrize("name", MAMBA)
def test_unknown_mixer_is_refused(name):
    with pytest.raises(ValueError, match=r"mixer must be .* got 'conv'"):
        build(name, mixer="conv")


@pytest.mark.parametrize("name", MAMBA)
def test_without_mixer_it_is_the_same_network_minus_the_mixer(name):
    network, twin = build(name), build(name, mixer=None)
    parts = MIXER.get(name, (".mixer.", ".norm1."))
    mixer_keys = {key for key in network.state_dict() if any(part in key for part in parts)}
    assert mixer_keys
    missing = twin.load_state_dict(network.state_dict(), strict=False)
    assert not missing.missing_keys
    assert set(missing.unexpected_keys) == mixer_keys
    x = image(network, 2, 1, 2)
    with torch.no_grad():
        assert not torch.equal(network(x), twin(x))
        silenced = copy.deepcopy(network)
        for key, p in silenced.named_parameters():
            if key in mixer_keys and key.endswith(("mixer.out_proj.weight", "mixer.gate.weight")):
                p.zero_()
            elif key.endswith("mixer.gate.bias"):
                p.fill_(-1e4)  # all the weight for what stays
        torch.testing.assert_close(silenced(x), twin(x))


def test_autocast_gives_nearly_the_same_logits(name):
    network = build(name)
    x = image(network, 2, 2, 2)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        low = network(x)
    with torch.no_grad():
        full = network(x)
    assert low.dtype == torch.bfloat16
    error = (low.float() - full).norm() / full.norm()
    assert error < 5e-2  # bfloat16 carries 8 bits: 4e-3 for one operation


def test_training_after_inference_mode_on_the_same_box(name):
    network = build(name)
    x = image(network, 3, 1, 1)
    with torch.inference_mode():
        network(x)
    output = network.train()(x)
    logits = output if isinstance(output, torch.Tensor) else output.logits[0]
    logits.mean().backward()


@pytest.mark.parametrize("name", ["MedSegMamba", "SegMambaBot"])
def test_compiles_as_one_graph_and_trains(name):
    torch.compiler.reset()  # shapes of an earlier test would be taken for dynamic ones
    network = build(name, depth=1)
    x = image(network, 1, 2, 1)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(compiled, network(x), rtol=1e-5, atol=1e-6)
    compiled.mean().backward()
    assert network.head.weight.grad.any()
