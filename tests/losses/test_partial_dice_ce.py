"""The loss for voxels that may belong to one of several classes."""

from __future__ import annotations

import torch
from monai.losses import DiceCELoss

from monai_mamba.losses.partial_dice_ce import PartialLabelDiceCELoss


def case(classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    logits = torch.randn(2, classes, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    return logits, torch.randint(0, classes, (2, 1, 4, 3, 2))


def test_with_one_class_allowed_everywhere_it_is_monais_loss():
    logits, label = case()
    ours = PartialLabelDiceCELoss(batch=True)(logits, 1 << label)
    theirs = DiceCELoss(to_onehot_y=True, softmax=True, batch=True)(logits, label)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_cross_entropy_has_the_gradient_of_the_summed_probability():
    logits, label = case()
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
