"""Networks for subcortical structures, trained on synthetic images of label maps and tested on other heads."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from monai_mamba import bundle_root
from monai_mamba.data.label_maps import find_label_maps
from monai_mamba.data.pairs import find_pairs
from monai_mamba.errors import InputError
from monai_mamba.labels import LabelTable
from monai_mamba.metrics.structure_scores import ABSENT_RULE

from .study import SCORES, Network, Run, Study, dynunet

STEPS_PER_EPOCH = 250
WINDOW = 96
STRIDE = 16  # of the coarsest grid among the networks
WITHOUT_EXAMPLES = (24, 77)  # no label map has them
ADAMW = {"_target_": "torch.optim.AdamW", "params": "$@network.parameters()", "lr": "@learning_rate"}
SHORT = {  # what a short training needs
    "warmup": 100,
    "structure_weight": 3.0,  # as in the first part of the shipped weights' training: structures are found sooner
    "ema#momentum": 0.01,  # the default averages more steps than a short training has
}


class SubcorticalStudy(Study):
    """Compares the network of `subcortical` with its twin without Mamba, with published networks, and with MONAI's
    DynUNet (the network of nnU-Net) and SegResNet, both with about as many parameters. Without Mamba,
    `medsegmamba_small` and `segmamba_bot_small` are the same network. Their trunk works at half resolution; the
    other networks work at full resolution. All are trained with AdamW."""

    bundle = "subcortical"
    networks: ClassVar = {
        "medsegmamba_small": Network({"_target_": "medsegmamba_small"}),
        "medsegmamba_small-no_mamba": Network({"_target_": "medsegmamba_small", "mixer": None}),
        "segmamba_bot_small": Network({"_target_": "segmamba_bot_small"}),
        "tabsurfer_small": Network({"_target_": "tabsurfer_small", "img_size": "@roi_size"}),
        "dynunet": dynunet([24, 48, 96, 128, 136]),
        "segresnet": Network({"_target_": "SegResNet", "init_filters": 16, "norm": ["GROUP", {"num_groups": 8}]}),
    }
    channels: ClassVar = {"in_channels": 1, "out_channels": len(LabelTable.load("subcortical"))}
    short_training: ClassVar[Mapping[str, object]] = {**SHORT, "optimizer": ADAMW}
    caveat = "The recipe was made for the first network and is not adapted to the others. "
    structures = tuple(
        entry.name for entry in LabelTable.load("subcortical").structures if entry.id not in WITHOUT_EXAMPLES
    )
    metrics = SCORES
    about = f"Synthetic scans can at best rank networks; they say nothing about patients. {ABSENT_RULE}"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--dataset_dir", required=True, help="label maps of whole heads")
        text = "maps, the last by name, that are not trained on (%(default)s)"
        parser.add_argument("--held_out", type=int, default=4, help=text)
        parser.add_argument("--test", required=True, help="scans of other heads with label maps beside them")
        text = f"of {STEPS_PER_EPOCH} steps each (%(default)s)"
        parser.add_argument("--epochs", type=int, default=12, help=text)
        parser.add_argument("--spacing", type=float, default=1.0, help="mm, for maps and scans (%(default)s)")
        parser.add_argument("--window", type=int, default=WINDOW, help="voxels along each side (%(default)s)")
        parser.add_argument("--learning_rate", type=float, default=0.0015, help="(%(default)s)")

    def check(self, options: argparse.Namespace) -> None:
        if options.window < 2 * STRIDE or options.window % STRIDE:
            raise InputError(f"--window is {options.window}; expected a multiple of {STRIDE}, at least {2 * STRIDE}.")
        for name in ("epochs", "spacing", "learning_rate"):
            if not getattr(options, name) > 0:
                raise InputError(f"--{name} is {getattr(options, name):g}; expected more than 0.")
        maps = find_label_maps(options.dataset_dir)
        if not 0 < options.held_out < len(maps):
            raise InputError(f"--held_out is {options.held_out}; expected 1 to {len(maps) - 1}, for {len(maps)} maps.")
        find_pairs(options.test)

    def training(self, options: argparse.Namespace) -> Run:
        settings = {
            **self.short_training,
            **self._resampled("train_synthetic.json", "Orientationd", "nearest", options),
            "dataset_dir": options.dataset_dir,
            "held_out": options.held_out,
            "roi_size": self.window(options),
            "epochs": options.epochs,
            "iterations_per_epoch": STEPS_PER_EPOCH,
            "learning_rate": options.learning_rate,
        }
        return Run(["train_synthetic.json"], settings)

    def evaluation(self, options: argparse.Namespace) -> Run:
        settings = {
            **self._resampled("train.json", "Conformd", "bilinear", options),
            "validate#handlers#2#grid": f"Both label maps at {options.spacing:g} mm, LIA.",
            "dataset_dir": options.test,
            "roi_size": self.window(options),
            "mirror": False,
            "num_workers": 0,
        }
        return Run(["train.json", "evaluate.json"], settings)

    def steps(self, options: argparse.Namespace) -> int:
        return options.epochs * STEPS_PER_EPOCH

    def cases(self, options: argparse.Namespace) -> dict[str, list[str]]:
        maps = find_label_maps(options.dataset_dir)[: -options.held_out]
        return {
            "training": [Path(path).name for path in maps],
            "test": [pair["subject"] for pair in find_pairs(options.test)],
        }

    def recipe(self, options: argparse.Namespace) -> str:
        return (
            "Training cases are label maps; each step generates a new image of one of them. Maps and test scans are "
            f"resampled to {options.spacing:g} mm. Structures weigh {SHORT['structure_weight']:g} in the loss, the "
            f"learning rate is {options.learning_rate:g}. {self.caveat}"
            "Windows are evaluated in one pass, not mirrored."
        )

    def _resampled(self, config: str, after: str, mode: str, options: argparse.Namespace) -> dict[str, object]:
        """The transforms of a config with a resampling to the spacing of the study after one of them."""
        text = Path(bundle_root(self.bundle), "configs", config).read_text(encoding="utf-8")
        transforms = json.loads(text)["train"]["deterministic_transforms"]
        position = [transform["_target_"] for transform in transforms].index(after)
        keys, spacing = transforms[position]["keys"], [options.spacing] * 3
        resample = {"_target_": "Spacingd", "keys": keys, "pixdim": spacing, "mode": mode}
        return {"train#deterministic_transforms": [*transforms[: position + 1], resample, *transforms[position + 1 :]]}
