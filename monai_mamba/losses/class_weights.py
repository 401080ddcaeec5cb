"""Class weights from how often the classes occur."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.transforms import LoadImage

from monai_mamba.data.image_reader import VerifyingNibabelReader
from monai_mamba.labels import LabelTable
from monai_mamba.transforms.to_training_labels import ToTrainingLabelsd

SCANS = 16  # enough for the proportions of a head


def class_weights(pairs: Sequence[dict[str, str]], table: LabelTable, power: float = 0.4) -> torch.Tensor:
    """Weights `n ** -power` of classes with `n` voxels, scaled to a mean of 1 over the classes that occur.

    Args:
        pairs: cases with a `label` file each; the first 16 of them are read.
        table: the classes.
        power: 0 weighs all classes alike, 1 gives each the same sum of weights, which favors small ones too much.

    Returns:
        `(len(table),)` float32; 1 for classes that do not occur.

    Raises:
        InputError: a label map holds none of the classes or no labels at all.
    """
    convert = ToTrainingLabelsd("label", table)
    load = LoadImage(reader=VerifyingNibabelReader, ensure_channel_first=True)
    counts = torch.zeros(len(table), dtype=torch.float64)
    for pair in pairs[:SCANS]:
        counts += torch.bincount(convert.apply(load(pair["label"])).as_tensor().flatten().int(), minlength=len(table))
    present = counts > 0
    weights = torch.ones_like(counts)
    weights[present] = counts[present] ** -power
    weights[present] /= weights[present].mean()
    return weights.float()
