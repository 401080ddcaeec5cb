"""MuonAdamW: which parameters are maps, and that both halves do what their sources say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import monai_mamba
from monai_mamba.errors import InputError
from monai_mamba.optimizers.muon import MuonAdamW, orthogonalize


def named_maps(network: nn.Module) -> set[str]:
    """Names of the parameters that the optimizer updates as linear maps."""
    maps = {id(p) for group in MuonAdamW(network).param_groups if group["map"] for p in group["params"]}
    return {name for name, parameter in network.named_parameters() if id(parameter) in maps}


def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 0) -> None:
    """Some steps on random targets, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        values = torch.randn(4, 6, generator=generator)
        (network(values) - values.roll(1, 0)).square().sum().backward()
        optimizer.step()


def layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.LayerNorm(12), nn.GELU(), nn.Linear(12, 6))


@pytest.mark.parametrize("shape", [(5, 5), (3, 40), (40, 3), (4, 6, 9)])
def test_orthogonalize_keeps_the_singular_vectors_and_levels_the_values(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    matrices *= 1e-4  # gradients are small
    result = orthogonalize(matrices)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    values = left.mT @ result @ right.mT
    diagonal = values.diagonal(dim1=-2, dim2=-1)
    assert result.shape == matrices.shape
    assert diagonal.min() > 0.5
    assert diagonal.max() < 1.4
    assert (values - torch.diag_embed(diagonal)).abs().max() < 0.1  # bfloat16


def test_a_gradient_of_zero_changes_nothing():
    assert not orthogonalize(torch.zeros(4, 7)).any()


def test_maps_of_a_mamba_network_are_its_projections_and_kernels():
    network = monai_mamba.MedSegMamba(in_channels=1, out_channels=3, channels=[8, 8, 16], depth=1)
    maps = named_maps(network)
    mixer = {name.rpartition("mixer.")[2] for name in maps if "mixer." in name}
    assert mixer == {"in_proj.weight", "x_proj_weight", "dt_proj_weight", "out_proj.weight"}
    assert "encoders.1.conv.0.weight" in maps
    assert not {name for name in maps if name.endswith(("bias", "A_log", ".D")) or "norm" in name}


@pytest.mark.parametrize("shape", [(6, 24), (24, 6)])
def test_maps_of_two_axes_take_the_steps_of_torch_optim_muon(shape):
    muon = getattr(torch.optim, "Muon", None)
    if muon is None:
        pytest.skip("this PyTorch has no torch.optim.Muon")
    generator = torch.Generator().manual_seed(0)
    start, *gradients = torch.randn(6, *shape, generator=generator)
    ours, theirs = nn.Module(), nn.Module()
    for network in (ours, theirs):
        network.weight = nn.Parameter(start.clone())
    options = {"lr": 0.01, "weight_decay": 0.1, "momentum": 0.9}
    optimizers = MuonAdamW(ours, **options), muon([theirs.weight], **options, adjust_lr_fn="match_rms_adamw")
    for gradient in gradients:
        for network, optimizer in zip((ours, theirs), optimizers, strict=True):
            network.weight.grad = gradient.clone()
            optimizer.step()
    found, expected = (network.weight.detach() - start for network in (ours, theirs))
    assert (found - expected).norm() < 0.05 * expected.norm()  # both in bfloat16, rounded at other places


def test_other_parameters_take_the_steps_of_torch_optim_adamw():
    ours, theirs = layers(), layers()
    for parameter in [*ours[0].parameters(), *ours[3].parameters(), *theirs[0].parameters(), *theirs[3].parameters()]:
        parameter.requires_grad_(False)
    train(ours, MuonAdamW(ours, lr=0.01, weight_decay=0.1), 5)
    train(theirs, torch.optim.AdamW(theirs[1].parameters(), lr=0.01, weight_decay=0.1), 5)
    torch.testing.assert_close(dict(ours.named_parameters()), dict(theirs.named_parameters()))
    assert not torch.equal(ours[1].weight, layers()[1].weight)


def test_kernels_are_matrices_and_three_axes_are_a_stack():
    gradient = torch.randn(4, 6, generator=torch.Generator().manual_seed(2))
    steps = []
    for shape in ((4, 6), (4, 2, 3, 1, 1), (1, 4, 6)):
        network = nn.Module()
        network.weight = nn.Parameter(torch.zeros(shape))
        network.weight.grad = gradient.view(shape).clone()
        MuonAdamW(network, lr=1.0).step()
        steps.append(network.weight.detach().view(4, 6))
    torch.testing.assert_close(steps[0], steps[1])
    torch.testing.assert_close(steps[0], steps[2])


def test_goes_on_from_its_state():
    whole, first, second = layers(), layers(), layers()
    optimizer = MuonAdamW(whole, lr=0.01)
    train(whole, optimizer, 3, seed=1)
    train(whole, optimizer, 3, seed=2)
    stopped = MuonAdamW(first, lr=0.01)
    train(first, stopped, 3, seed=1)
    second.load_state_dict(first.state_dict())
    resumed = MuonAdamW(second, lr=0.5)
    resumed.load_state_dict(stopped.state_dict())
    train(second, resumed, 3, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("wrong", [{"lr": -0.1}, {"weight_decay": -0.1}, {"momentum": 1.0}, {"betas": (0.9, 1.0)}])
def test_refuses_arguments_out_of_range(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))}.*expected"):
        MuonAdamW(nn.Linear(2, 2), **wrong)
