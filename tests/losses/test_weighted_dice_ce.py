"""The loss of the hippocampal bundle: its parts, its class weights, and its precision."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceLoss
from torch.nn import functional

from monai_mamba.losses import WeightedDiceCELoss

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
