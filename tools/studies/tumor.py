"""Tumor networks on synthetic cases, and twins that lack one part each."""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_mamba.data.cases import find_labeled_cases
from monai_mamba.data.modalities import MODALITIES
from monai_mamba.errors import InputError
from monai_mamba.labels import RegionTable
from monai_mamba.metrics.region_scores import EMPTY_RULE

from .study import Network, Plan, Study

CONVENTION = "brats2023"
LEARNING_RATE = 0.001


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the study."""
    parser.add_argument("--training", required=True, help="cases in the layout of BraTS 2023")
    parser.add_argument("--test", required=True, help="other cases, in the same layout")
    parser.add_argument("--epochs", type=int, default=40, help="as many steps as training cases each (%(default)s)")
    parser.add_argument("--spacing", type=float, default=1.0, help="mm, for all cases (%(default)s)")
    parser.add_argument("--window", type=int, default=64, help="voxels along each side (%(default)s)")
    parser.add_argument("--windows_per_case", type=int, default=2, help="of a step (%(default)s)")


def plan(options: argparse.Namespace) -> Plan:
    """Train on all cases of one folder, test on those of the other."""
    if options.window < 32 or options.window % 32:
        raise InputError(f"--window is {options.window}; expected a multiple of 32.")
    for name in ("epochs", "spacing", "windows_per_case"):
        if not getattr(options, name) > 0:
            raise InputError(f"--{name} is {getattr(options, name):g}; expected more than 0.")
    if Path(options.training).resolve() == Path(options.test).resolve():
        raise InputError(f"--training and --test are both {options.test}; expected different cases.")
    folders = {"training": options.training, "test": options.test}
    cases = {
        kind: [case["subject"] for case in find_labeled_cases(folder, CONVENTION)] for kind, folder in folders.items()
    }
    steps = len(cases["training"])
    window = [options.window] * 3
    common = {"roi_size": window, "train#image_transforms#2#pixdim": [options.spacing] * 3, "num_workers": 0}
    training = {
        **common,
        "dataset_dir": options.training,
        "val_fraction": 0.0,
        "paste_lesions": 0.0,
        "epochs": options.epochs,
        "iterations_per_epoch": steps,
        "learning_rate": LEARNING_RATE,
        "windows_per_case": options.windows_per_case,
        "cache_rate": 1.0,
    }
    evaluation = {**common, "dataset_dir": options.test, "subsets": [list(MODALITIES)]}
    windows = f"{options.windows_per_case} window{'s' if options.windows_per_case > 1 else ''}"
    recipe = (
        f"Cases are resampled to {options.spacing:g} mm; a step takes {windows} of a case. "
        f"Augmentation and optimizer are the bundle's, with a learning rate of {LEARNING_RATE:g} for all."
    )
    return Plan(training, evaluation, steps * options.epochs, window, cases, recipe)


TUMOR = Study(
    about="""Compares the networks of `brats_multimodal` with twins that lack Mamba, the Kolmogorov-Arnold mixing
(replaced by a multilayer perceptron), or self-distillation (supervision at every scale stays).""",
    note=f"Synthetic cases can at best rank networks; they say nothing about patients. {EMPTY_RULE}",
    bundle="brats_multimodal",
    networks={
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
    },
    channels={"in_channels": len(MODALITIES), "out_channels": 3},
    structures=RegionTable.load(CONVENTION).names,
    metrics={"dsc": ("DSC", 3), "hd95_mm": ("HD95 (mm)", 1)},
    add_arguments=add_arguments,
    plan=plan,
    network_key="network_def#network",
)
