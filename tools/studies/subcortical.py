"""Networks for subcortical structures, on one of the folds by person of labeled scans."""

from __future__ import annotations

import argparse
from typing import ClassVar

from monai_mamba.data import describe_pairs, find_pairs, split_fold
from monai_mamba.errors import InputError
from monai_mamba.labels import LabelTable
from monai_mamba.metrics.structure_scores import ABSENT_RULE

from .study import SCORES, Network, Run, Study, dynunet

STEPS_PER_EPOCH = 250
WINDOW = [96, 96, 96]


class SubcorticalStudy(Study):
    """Compares the network of `subcortical` with its twin without Mamba, with a wider one, with published networks, and
    with MONAI's DynUNet (the network of nnU-Net) and SegResNet, both with about as many parameters as the first.
    Without Mamba, `medsegmamba_small` and `segmamba_bot_small` are the same network. Their trunk works at half
    resolution; the other networks work at full resolution."""

    bundle = "subcortical"
    networks: ClassVar = {
        "medsegmamba_small": Network({"_target_": "medsegmamba_small"}),
        "medsegmamba_small-no_mamba": Network({"_target_": "medsegmamba_small", "mixer": None}),
        "medsegmamba_small-wider": Network(
            {"_target_": "medsegmamba_small", "channels": [24, 72, 144, 192, 192], "final_channels": 48}
        ),
        "segmamba_bot_small": Network({"_target_": "segmamba_bot_small"}),
        "tabsurfer_small": Network({"_target_": "tabsurfer_small", "img_size": "@roi_size"}),
        "dynunet": dynunet([24, 48, 96, 128, 136]),
        "segresnet": Network({"_target_": "SegResNet", "init_filters": 16, "norm": ["GROUP", {"num_groups": 8}]}),
    }
    channels: ClassVar = {"in_channels": 1, "out_channels": len(LabelTable.load("subcortical"))}
    structures = tuple(entry.name for entry in LabelTable.load("subcortical").structures)
    metrics = SCORES
    about = ABSENT_RULE

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--dataset_dir", required=True, help="scans with FreeSurfer's label maps beside them")
        parser.add_argument("--scan_table", required=True, help="TSV file with person and fold of each scan")
        parser.add_argument("--fold", type=int, default=0, help="persons who are tested, not trained on (%(default)s)")
        text = f"of {STEPS_PER_EPOCH} steps each (%(default)s)"
        parser.add_argument("--epochs", type=int, default=12, help=text)

    def check(self, options: argparse.Namespace) -> None:
        if options.epochs < 1:
            raise InputError(f"--epochs is {options.epochs}; expected 1 or more.")
        self._split(options)

    def _split(self, options: argparse.Namespace) -> tuple[list, list]:
        return split_fold(describe_pairs(find_pairs(options.dataset_dir), options.scan_table), options.fold)

    def training(self, options: argparse.Namespace) -> Run:
        settings = {
            "epochs": options.epochs,
            "iterations_per_epoch": STEPS_PER_EPOCH,
            "val_interval": options.epochs + 1,
        }
        return Run(["train.json"], {**self._data(options), **settings, "val_pairs": []})  # nothing is selected on

    def evaluation(self, options: argparse.Namespace) -> Run:
        settings = {"val_pairs": "$@split[1]", "mirror": False, "num_workers": 0}
        return Run(["train.json", "evaluate.json"], {**self._data(options), **settings})

    def _data(self, options: argparse.Namespace) -> dict[str, object]:
        return {"dataset_dir": options.dataset_dir, "scan_table": options.scan_table, "fold": options.fold}

    def steps(self, options: argparse.Namespace) -> int:
        return options.epochs * STEPS_PER_EPOCH

    def window(self, options: argparse.Namespace) -> list[int]:
        return WINDOW

    def cases(self, options: argparse.Namespace) -> dict[str, list[str]]:
        names = ([pair["subject"] for pair in pairs] for pairs in self._split(options))
        return dict(zip(("training", "test"), names, strict=True))

    def recipe(self, options: argparse.Namespace) -> str:
        return (
            f"Test scans are of other people than training scans (fold {options.fold}). The recipe was made for the "
            "first network and is not adapted to the others. Windows are evaluated in one pass, not mirrored."
        )
