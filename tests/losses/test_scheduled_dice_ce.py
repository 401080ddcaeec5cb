"""The training loss: its parts, its schedule, and the class weights."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from monai.losses import DiceLoss
from torch.nn import functional

from monai_mamba.losses.scheduled_dice_ce import ScheduledDiceCELoss

CLASSES = 4


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, CLASSES, 5, 6, 7, generator=generator, requires_grad=True)
    return logits, torch.randint(0, CLASSES, (2, 1, 5, 6, 7), generator=generator).to(torch.uint8)


def test_is_the_sum_of_dice_and_weighted_cross_entropy(batch):
    logits, target = batch
    weights = [0.1, 1.0, 2.0, 3.0]
    dice = DiceLoss(to_onehot_y=True, softmax=True)(logits, target)
    entropy = functional.cross_entropy(logits, target[:, 0].long(), weight=torch.tensor(weights))
    loss = ScheduledDiceCELoss(ce_weight=0.5, class_weights=weights)(logits, target)
    torch.testing.assert_close(loss, dice + 0.5 * entropy)


def test_cross_entropy_leaves_after_its_epochs(batch):
    loss = ScheduledDiceCELoss(ce_weight=2.0, ce_epochs=2, ce_weight_after=0.25)
    shares = []
    engine = Engine(lambda *_: shares.append(loss.ce_weight))
    loss.attach(engine)
    engine.run([0], max_epochs=4)
    assert shares == [2.0, 2.0, 0.25, 0.25]
    dice_alone = ScheduledDiceCELoss(ce_weight=0.0)
    torch.testing.assert_close(dice_alone(*batch), DiceLoss(to_onehot_y=True, softmax=True)(*batch))


def test_half_precision_logits_give_a_float32_loss_and_finite_gradients(batch):
    logits, target = batch
    half = (30 * logits).detach().bfloat16().requires_grad_()
    loss = ScheduledDiceCELoss()(half, target)
    loss.backward()
    assert loss.dtype == torch.float32
    assert half.grad.isfinite().all()


def test_training_with_it_recovers_a_small_class():
    torch.manual_seed(0)
    target = torch.zeros(1, 1, 8, 8, 8, dtype=torch.uint8)
    target[..., 2:4, 2:4, 2:4] = 1
    logits = torch.zeros(1, 2, 8, 8, 8, requires_grad=True)
    loss, optimizer = ScheduledDiceCELoss(class_weights=[1.0, 5.0]), torch.optim.Adam([logits], lr=0.2)
    for _ in range(40):
        optimizer.zero_grad()
        loss(logits, target).backward()
        optimizer.step()
    assert (logits.argmax(dim=1, keepdim=True) == target).all()


def test_negative_shares_are_refused():
    with pytest.raises(ValueError, match=">= 0"):
        ScheduledDiceCELoss(ce_weight_after=-1)
