"""Class collapse in small: of 25 classes of very different sizes, Dice alone gives some up; with cross-entropy none."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import nn

from monai_mamba.handlers.missing_classes import lost_classes
from monai_mamba.losses import WeightedDiceCELoss

CLASSES, SIDE = 25, 20


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    """Image (1, 4, 20, 20, 20) and labels (1, 1, 20, 20, 20): 24 structures of 1000 to 10 voxels, each with a mean."""
    generator = torch.Generator().manual_seed(0)
    label = torch.zeros(SIDE**3, dtype=torch.long)
    start = 0
    for index, size in enumerate(torch.logspace(3, 1, CLASSES - 1).int().tolist(), 1):
        label[start : start + size] = index
        start += size
    label = label[torch.randperm(len(label), generator=generator)]
    means = torch.randn(CLASSES, 4, generator=generator)
    image = means[label] + 0.25 * torch.randn(len(label), 4, generator=generator)
    grid = (SIDE,) * 3
    return image.T.reshape(1, 4, *grid), label.reshape(1, 1, *grid)


def train(loss: nn.Module, image: torch.Tensor, label: torch.Tensor) -> list[int]:
    """Classes that a small network, trained on one image, does not predict in it."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(4, 32, 1), nn.ReLU(), nn.Conv3d(32, CLASSES, 1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.03)
    for _ in range(150):
        optimizer.zero_grad()
        loss(network(image), label).backward()
        optimizer.step()
    predicted, expected = (
        torch.bincount(labels.flatten(), minlength=CLASSES) for labels in (network(image).argmax(dim=1), label)
    )
    return lost_classes(predicted, expected)


def test_dice_alone_loses_classes_and_with_weighted_cross_entropy_none_is_lost():
    image, label = problem()
    counts = torch.bincount(label.flatten()).float()
    weights = counts**-0.4 / (counts**-0.4).mean()  # as `class_weights` has them
    assert train(DiceLoss(to_onehot_y=True, softmax=True), image, label)
    assert train(WeightedDiceCELoss(weights), image, label) == []
