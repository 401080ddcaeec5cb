"""Tumor networks on synthetic cases, and twins that lack one part each."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import ClassVar

from monai_mamba.data.cases import find_labeled_cases
from monai_mamba.data.modalities import MODALITIES
from monai_mamba.errors import InputError
from monai_mamba.labels import RegionTable
from monai_mamba.metrics.region_scores import EMPTY_RULE

from .study import Network, Run, Study

CONVENTION = "brats2023"


class TumorStudy(Study):
    """Compares the networks of `brats_multimodal` with twins that lack Mamba, the Kolmogorov-Arnold mixing (replaced by
    a multilayer perceptron), or self-distillation (supervision at every scale stays)."""

    bundle = "brats_multimodal"
    networks: ClassVar = {
        "msd_kmamba_small": Network({"_target_": "msd_kmamba_small"}),
        "msd_kmamba_small-no_mamba": Network({"_target_": "msd_kmamba_small", "mixer": None}),
        "msd_kmamba_small-no_kan": Network({"_target_": "msd_kmamba_small", "kan": None}),
        "msd_kmamba_small-no_distillation": Network(
            {"_target_": "msd_kmamba_small"}, {"distillation_weight": 0.0, "feature_weight": 0.0}
        ),
        "segmaformer": Network({"_target_": "SegMaFormer"}),
        "segmaformer-no_mamba": Network({"_target_": "SegMaFormer", "mixer": None}),
        "segmamba_small": Network({"_target_": "segmamba_small"}),
        "segmamba_small-no_mamba": Network({"_target_": "segmamba_small", "mixer": None}),
    }
    channels: ClassVar = {"in_channels": len(MODALITIES), "out_channels": 3}
    structures = RegionTable.load(CONVENTION).names
    metrics: ClassVar = {"dsc": ("DSC", 3), "hd95_mm": ("HD95 (mm)", 1)}
    about = f"Synthetic cases can at best rank networks; they say nothing about patients. {EMPTY_RULE}"

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--training", required=True, help="cases in the layout of BraTS 2023")
        parser.add_argument("--test", required=True, help="other cases, in the same layout")
        parser.add_argument("--epochs", type=int, default=40, help="as many steps as training cases each (%(default)s)")
        parser.add_argument("--spacing", type=float, default=1.0, help="mm, for all cases (%(default)s)")
        parser.add_argument("--window", type=int, default=64, help="voxels along each side (%(default)s)")
        parser.add_argument("--windows_per_case", type=int, default=2, help="of a step (%(default)s)")
        parser.add_argument("--learning_rate", type=float, default=0.001, help="(%(default)s)")
        parser.add_argument("--num_workers", type=int, default=0, help="processes that prepare windows (%(default)s)")
        parser.add_argument("--cache_rate", type=float, default=1.0, help="share of cases in memory (%(default)s)")

    def check(self, options: argparse.Namespace) -> None:
        if options.window < 32 or options.window % 32:
            raise InputError(f"--window is {options.window}; expected a multiple of 32.")
        if not 0 <= options.cache_rate <= 1 or options.num_workers < 0:
            raise InputError(
                f"--cache_rate is {options.cache_rate:g}, --num_workers {options.num_workers}; expected 0 to 1, and 0 "
                "or more."
            )
        for name in ("epochs", "spacing", "windows_per_case", "learning_rate"):
            if not getattr(options, name) > 0:
                raise InputError(f"--{name} is {getattr(options, name):g}; expected more than 0.")
        if Path(options.training).resolve() == Path(options.test).resolve():
            raise InputError(f"--training and --test are both {options.test}; expected different cases.")
        for folder in (options.training, options.test):
            find_labeled_cases(folder, CONVENTION)

    def network_options(self, name: str) -> dict[str, object]:
        return {"network_def#network": super().network_options(name)["network_def"]}

    def training(self, options: argparse.Namespace) -> Run:
        settings = {
            **self._common(options),
            "dataset_dir": options.training,
            "val_fraction": 0.0,
            "paste_lesions": 0.0,
            "epochs": options.epochs,
            "iterations_per_epoch": len(find_labeled_cases(options.training, CONVENTION)),
            "learning_rate": options.learning_rate,
            "windows_per_case": options.windows_per_case,
            "cache_rate": options.cache_rate,
        }
        return Run(["train.json"], settings)

    def evaluation(self, options: argparse.Namespace) -> Run:
        settings = {**self._common(options), "dataset_dir": options.test, "subsets": [list(MODALITIES)]}
        return Run(["train.json", "evaluate.json"], settings)

    @staticmethod
    def _common(options: argparse.Namespace) -> dict[str, object]:
        return {
            "roi_size": [options.window] * 3,
            "train#image_transforms#2#pixdim": [options.spacing] * 3,
            "num_workers": options.num_workers,
        }

    def steps(self, options: argparse.Namespace) -> int:
        return len(find_labeled_cases(options.training, CONVENTION)) * options.epochs

    def cases(self, options: argparse.Namespace) -> dict[str, list[str]]:
        folders = {"training": options.training, "test": options.test}
        return {
            kind: [case["subject"] for case in find_labeled_cases(folder, CONVENTION)]
            for kind, folder in folders.items()
        }

    def recipe(self, options: argparse.Namespace) -> str:
        windows = f"{options.windows_per_case} window{'s' if options.windows_per_case > 1 else ''}"
        return (
            f"Cases are resampled to {options.spacing:g} mm; a step takes {windows} of a case. "
            f"Augmentation and optimizer are the bundle's, with a learning rate of {options.learning_rate:g} for all."
        )
