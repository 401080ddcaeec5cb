"""The Dice losses: their parts, class weights, open voxels, regions, and precision."""

from __future__ import annotations

import math

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss
from torch.nn import functional

from monai_mamba.losses import PartialLabelDiceCELoss, RegionDiceBCELoss, WeightedDiceCELoss

CLASSES = 4


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, CLASSES, 5, 6, 7, generator=generator, requires_grad=True)
    return logits, torch.randint(0, CLASSES, (2, 1, 5, 6, 7), generator=generator).to(torch.uint8)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.1, 1.0, 2.0, 3.0])])
def test_is_the_sum_of_dice_and_weighted_cross_entropy(batch, weights):
    logits, target = batch
    dice = DiceLoss(to_onehot_y=True, softmax=True)(logits, target)
    entropy = functional.cross_entropy(logits, target[:, 0].long(), weight=weights)
    torch.testing.assert_close(WeightedDiceCELoss(weights)(logits, target), dice + entropy)


def test_half_precision_logits_give_a_float32_loss_and_finite_gradients(batch):
    logits, target = batch
    half = (30 * logits).detach().bfloat16().requires_grad_()
    loss = WeightedDiceCELoss()(half, target)
    loss.backward()
    assert loss.dtype == torch.float32
    assert half.grad.isfinite().all()


def open_case(classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    logits = torch.randn(2, classes, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    return logits, torch.randint(0, classes, (2, 1, 4, 3, 2))


def test_with_one_class_allowed_everywhere_it_is_monais_loss():
    logits, label = open_case()
    ours = PartialLabelDiceCELoss(batch=True)(logits, 1 << label)
    theirs = DiceCELoss(to_onehot_y=True, softmax=True, batch=True)(logits, label)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_cross_entropy_has_the_gradient_of_the_summed_probability():
    logits, label = open_case()
    target = (1 << label) | (1 << torch.randint(0, 5, label.shape))
    PartialLabelDiceCELoss(lambda_dice=0.0)(logits, target).backward()
    found, logits.grad = logits.grad, None
    allowed = (target >> torch.arange(5).view(1, -1, 1, 1, 1)) & 1
    (-(logits.softmax(1) * allowed).sum(1).log()).mean().backward()
    torch.testing.assert_close(found, logits.grad, rtol=1e-5, atol=1e-7)


def test_a_class_that_the_map_does_not_know_is_neither_taught_nor_forbidden():
    """Class 2 may stand for class 0: a network that sees it there keeps it, one that does not is not made to."""
    for preferred in (0, 2):
        logits = torch.zeros(1, 3, 4, 4, 4)
        logits[:, preferred] = 9.0
        logits.requires_grad_()
        PartialLabelDiceCELoss()(logits, torch.full((1, 1, 4, 4, 4), 0b101)).backward()
        assert logits.grad.abs().max() < 1e-4
    logits = torch.zeros(1, 3, 4, 4, 4)
    logits[:, 1] = 9.0
    logits.requires_grad_()
    PartialLabelDiceCELoss()(logits, torch.full((1, 1, 4, 4, 4), 0b101)).backward()
    assert (logits.grad[:, 1] > 0).all()
    assert (logits.grad[:, [0, 2]] < 0).all()


def test_regions_by_hand():
    # two regions in two voxels, all probabilities 1/2; the first region is one voxel, the second both
    logits = torch.zeros(1, 2, 1, 1, 2)
    target = torch.tensor([[1, 0], [1, 1]]).reshape(1, 2, 1, 1, 2)
    dice = ((1 - 2 * 0.5 / (1 + 1)) + (1 - 2 * 1 / (1 + 2))) / 2
    loss = RegionDiceBCELoss(lambda_dice=0.8, lambda_ce=0.2)(logits, target)
    assert loss.item() == pytest.approx(0.8 * dice + 0.2 * math.log(2), abs=1e-4)  # Dice is smoothed by 1e-5


def test_regions_are_independent_of_each_other():
    logits = torch.randn(1, 3, 4, 4, 4, requires_grad=True)
    target = torch.zeros(1, 3, 4, 4, 4)
    target[:, :, :2] = 1  # all three regions contain the same voxels, which no softmax can express
    loss = RegionDiceBCELoss()
    assert loss(40 * (2 * target - 1), target) < 1e-3
    (gradient,) = torch.autograd.grad(RegionDiceBCELoss(lambda_dice=0)(logits, target), logits)
    torch.testing.assert_close(gradient, (logits.sigmoid() - target) / target.numel())


def test_a_sample_without_the_region_counts_no_miss_of_its_own():
    target = torch.zeros(2, 1, 4, 4, 4)
    target[0, :, :2] = 1
    logits = 20 * (2 * target - 1)
    logits[1, 0, 0, 0, 0] = 20  # one voxel too many where there is no tumor
    together, alone = (RegionDiceBCELoss(lambda_ce=0, batch=batch)(logits, target).item() for batch in (True, False))
    assert together == pytest.approx(1 - 2 * 32 / 65, abs=1e-4)
    assert alone == pytest.approx(0.5, abs=1e-4)


def test_half_precision_logits_of_regions_give_a_float32_loss_and_finite_gradients():
    logits = (30 * torch.randn(1, 3, 4, 4, 4)).bfloat16().requires_grad_()
    loss = RegionDiceBCELoss()(logits, torch.ones(1, 3, 4, 4, 4, dtype=torch.uint8))
    loss.backward()
    assert loss.dtype == torch.float32
    assert logits.grad.isfinite().all()
