"""The loss for overlapping regions."""

from __future__ import annotations

import math

import pytest
import torch

from monai_mamba.losses import RegionDiceBCELoss


def test_by_hand():
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


def test_half_precision_logits_give_a_float32_loss_and_finite_gradients():
    logits = (30 * torch.randn(1, 3, 4, 4, 4)).bfloat16().requires_grad_()
    loss = RegionDiceBCELoss()(logits, torch.ones(1, 3, 4, 4, 4, dtype=torch.uint8))
    loss.backward()
    assert loss.dtype == torch.float32
    assert logits.grad.isfinite().all()
