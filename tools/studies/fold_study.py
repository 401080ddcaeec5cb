"""Networks trained on labeled scans but for one fold of the people, on whom they are tested."""

from __future__ import annotations

import argparse
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from monai_mamba.errors import InputError
from monai_mamba.metrics.structure_scores import ABSENT_RULE

from .study import Run, Study

STEPS_PER_EPOCH = 250


class FoldStudy(Study):
    """What studies of structures have in common.

    Attributes:
        roi_size: voxels of a training window along each axis.
        epochs: how long networks are trained by default.
        data: help on the data set.
        evaluated: how windows are evaluated, for the recipe.
    """

    metrics: ClassVar = {"dsc": ("DSC", 3), "vs": ("VS", 3), "assd_mm": ("ASSD (mm)", 2), "hd95_mm": ("HD95 (mm)", 2)}
    about = ABSENT_RULE
    roi_size: ClassVar[Sequence[int]]
    epochs: ClassVar[int]
    data: ClassVar[str]
    evaluated: ClassVar[str] = ""

    @abstractmethod
    def split(self, options: argparse.Namespace) -> tuple[list, list]:
        """Pairs to train on, and those of the fold that is tested."""

    @abstractmethod
    def data_options(self, options: argparse.Namespace) -> dict[str, object]:
        """Options of the bundle that name data and fold."""

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--dataset_dir", required=True, help=cls.data)
        parser.add_argument("--fold", type=int, default=0, help="persons who are tested, not trained on (%(default)s)")
        text = f"of {STEPS_PER_EPOCH} steps each (%(default)s)"
        parser.add_argument("--epochs", type=int, default=cls.epochs, help=text)

    def check(self, options: argparse.Namespace) -> None:
        if options.epochs < 1:
            raise InputError(f"--epochs is {options.epochs}; expected 1 or more.")
        self.split(options)

    def training(self, options: argparse.Namespace) -> Run:
        length = {"epochs": options.epochs, "iterations_per_epoch": STEPS_PER_EPOCH}
        return Run(["train.json"], {**self.data_options(options), **length, "val_pairs": []})  # nothing is selected on

    def evaluation(self, options: argparse.Namespace) -> Run:
        return Run(["train.json", "evaluate.json"], self.data_options(options))

    def steps(self, options: argparse.Namespace) -> int:
        return options.epochs * STEPS_PER_EPOCH

    def window(self, options: argparse.Namespace) -> Sequence[int]:
        return self.roi_size

    def cases(self, options: argparse.Namespace) -> dict[str, list[str]]:
        names = ([pair["subject"] for pair in pairs] for pairs in self.split(options))
        return dict(zip(("training", "test"), names, strict=True))

    def recipe(self, options: argparse.Namespace) -> str:
        return (
            f"Test scans are of other people than training scans (fold {options.fold}). The recipe was made for the "
            f"first network and is not adapted to the others.{self.evaluated}"
        )
