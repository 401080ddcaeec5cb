"""Networks for the parts of the hippocampus, on one of the folds by person of the manually labeled crops."""

from __future__ import annotations

import argparse
from typing import ClassVar

import monai_mamba
from monai_mamba.data.folds import split_folds
from monai_mamba.data.pairs import find_pairs
from monai_mamba.errors import InputError
from monai_mamba.labels import LabelTable
from monai_mamba.metrics.structure_scores import ABSENT_RULE

from .study import SCORES, Network, Run, Study, dynunet

WINDOW = [48, 48, 64]
STEPS_PER_EPOCH = 250
HYBRID = {
    "channels": [16, 32, 64, 128, 128],
    "depth": 4,
    "d_state": 16,
    "final_channels": 16,
    "dropout_rate": 0.0,
    "drop_path_rate": 0.1,
}
CUBE = {"roi_size": [64] * 3}  # its coarsest stage has one cell for 32 voxels


class HippocampusStudy(Study):
    """Compares the network of `hippocampal_subfields` with published networks, with twins without Mamba, and with
    MONAI's DynUNet (the network of nnU-Net) and SegResNet, both with about as many parameters as the first. Without
    Mamba, `medsegmamba` and `segmamba_bot` are the same network."""

    bundle = "hippocampal_subfields"
    networks: ClassVar = {
        "medsegmamba": Network({"_target_": "MedSegMamba", **HYBRID}),
        "medsegmamba-no_mamba": Network({"_target_": "MedSegMamba", **HYBRID, "mixer": None}),
        "segmamba_bot": Network({"_target_": "SegMambaBot", **HYBRID}),
        "tabsurfer_small": Network({"_target_": "tabsurfer_small", "img_size": "@roi_size"}),
        "segmaformer": Network({"_target_": "SegMaFormer"}, CUBE),
        "segmaformer-no_mamba": Network({"_target_": "SegMaFormer", "mixer": None}, CUBE),
        "dynunet": dynunet([20, 40, 80, 112, 112]),
        "segresnet": Network({"_target_": "SegResNet", "init_filters": 14, "norm": ["GROUP", {"num_groups": 7}]}),
    }
    channels: ClassVar = {"in_channels": 1, "out_channels": 3}
    structures = tuple(entry.name for entry in LabelTable.load("hippocampus_crop").structures)
    metrics = SCORES
    about = ABSENT_RULE

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--dataset_dir", required=True, help="task 04 of the Medical Segmentation Decathlon")
        parser.add_argument("--fold", type=int, default=0, help="persons who are tested, not trained on (%(default)s)")
        text = f"of {STEPS_PER_EPOCH} steps each (%(default)s)"
        parser.add_argument("--epochs", type=int, default=4, help=text)

    def check(self, options: argparse.Namespace) -> None:
        if options.epochs < 1:
            raise InputError(f"--epochs is {options.epochs}; expected 1 or more.")
        self._split(options)

    def _split(self, options: argparse.Namespace) -> tuple[list, list]:
        folds = f"{monai_mamba.bundle_root(self.bundle)}/configs/folds.json"
        return split_folds(find_pairs(options.dataset_dir), folds, options.fold)

    def training(self, options: argparse.Namespace) -> Run:
        settings = {
            "dataset_dir": options.dataset_dir,
            "fold": options.fold,
            "epochs": options.epochs,
            "iterations_per_epoch": STEPS_PER_EPOCH,
            "val_pairs": [],  # nothing is selected on
        }
        return Run(["train.json"], settings)

    def evaluation(self, options: argparse.Namespace) -> Run:
        return Run(["train.json", "evaluate.json"], {"dataset_dir": options.dataset_dir, "fold": options.fold})

    def steps(self, options: argparse.Namespace) -> int:
        return options.epochs * STEPS_PER_EPOCH

    def window(self, options: argparse.Namespace) -> list[int]:
        return WINDOW

    def cases(self, options: argparse.Namespace) -> dict[str, list[str]]:
        names = ([pair["subject"] for pair in pairs] for pairs in self._split(options))
        return dict(zip(("training", "test"), names, strict=True))

    def recipe(self, options: argparse.Namespace) -> str:
        return (
            f"Test crops come from other people than training crops (fold {options.fold}). The recipe was made for "
            "the first network and is not adapted to the others."
        )
