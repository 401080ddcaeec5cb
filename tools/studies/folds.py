"""Networks trained on labeled scans but for one fold of the people, on whom they are tested."""

from __future__ import annotations

import argparse
from functools import partial

import monai_mamba
from monai_mamba.data import describe_pairs, find_pairs, split_fold
from monai_mamba.data.folds import split_folds
from monai_mamba.errors import InputError
from monai_mamba.labels import LabelTable
from monai_mamba.metrics.structure_scores import ABSENT_RULE

from .study import Network, Plan, Study, dynunet

STEPS_PER_EPOCH = 250
METRICS = {"dsc": ("DSC", 3), "vs": ("VS", 3), "assd_mm": ("ASSD (mm)", 2), "hd95_mm": ("HD95 (mm)", 2)}
HYBRID = {
    "channels": [16, 32, 64, 128, 128],
    "depth": 4,
    "d_state": 16,
    "final_channels": 16,
    "dropout_rate": 0.0,
    "drop_path_rate": 0.1,
}
CUBE = {"roi_size": [64] * 3}  # its coarsest stage has one cell for 32 voxels


def add_arguments(parser: argparse.ArgumentParser, epochs: int, table: bool) -> None:
    """Options of a study; `table` asks for a table of persons and folds."""
    parser.add_argument(
        "--dataset_dir", required=True, help="scans with label maps, as the bundle's training takes them"
    )
    parser.add_argument("--fold", type=int, default=0, help="persons who are tested, not trained on (%(default)s)")
    text = f"of {STEPS_PER_EPOCH} steps each (%(default)s)"
    parser.add_argument("--epochs", type=int, default=epochs, help=text)
    if table:
        parser.add_argument("--scan_table", required=True, help="TSV file with person and fold of each scan")


def make_plan(
    options: argparse.Namespace,
    pairs: tuple[list, list],
    window: tuple[int, ...],
    training: dict[str, object],
    evaluation: dict[str, object],
) -> Plan:
    """The plan for pairs to train on and to test, with the options of the bundle that the study needs."""
    if options.epochs < 1:
        raise InputError(f"--epochs is {options.epochs}; expected 1 or more.")
    data = {"dataset_dir": options.dataset_dir, "fold": options.fold}
    length = {"epochs": options.epochs, "iterations_per_epoch": STEPS_PER_EPOCH}
    return Plan(
        {**data, **length, "val_pairs": [], **training},  # nothing is selected on
        {**data, **evaluation},
        options.epochs * STEPS_PER_EPOCH,
        window,
        {kind: [pair["subject"] for pair in part] for kind, part in zip(("training", "test"), pairs, strict=True)},
        f"Test scans are of other people than training scans (fold {options.fold}). The recipe was made for the first "
        "network and is not adapted to the others.",
    )


def plan_hippocampus(options: argparse.Namespace) -> Plan:
    """The folds of the bundle."""
    folds = f"{monai_mamba.bundle_root('hippocampal_subfields')}/configs/folds.json"
    pairs = split_folds(find_pairs(options.dataset_dir), folds, options.fold)
    return make_plan(options, pairs, (48, 48, 64), {}, {})


def plan_subcortical(options: argparse.Namespace) -> Plan:
    """The folds of the table; windows are evaluated in one pass."""
    pairs = split_fold(describe_pairs(find_pairs(options.dataset_dir), options.scan_table), options.fold)
    table = {"scan_table": options.scan_table}
    training = {**table, "val_interval": options.epochs + 1}
    evaluation = {**table, "val_pairs": "$@split[1]", "mirror": False, "num_workers": 0}
    plan = make_plan(options, pairs, (96, 96, 96), training, evaluation)
    return plan._replace(recipe=f"{plan.recipe} Windows are evaluated in one pass, not mirrored.")


HIPPOCAMPUS = Study(
    about="""Compares the network of `hippocampal_subfields` with published networks, with twins without Mamba, and with
MONAI's DynUNet (the network of nnU-Net) and SegResNet, both with about as many parameters as the first. Without Mamba,
`medsegmamba` and `segmamba_bot` are the same network.""",
    note=ABSENT_RULE,
    bundle="hippocampal_subfields",
    networks={
        "medsegmamba": Network({"_target_": "MedSegMamba", **HYBRID}),
        "medsegmamba-no_mamba": Network({"_target_": "MedSegMamba", **HYBRID, "mixer": None}),
        "segmamba_bot": Network({"_target_": "SegMambaBot", **HYBRID}),
        "tabsurfer_small": Network({"_target_": "tabsurfer_small", "img_size": "@roi_size"}),
        "segmaformer": Network({"_target_": "SegMaFormer"}, CUBE),
        "segmaformer-no_mamba": Network({"_target_": "SegMaFormer", "mixer": None}, CUBE),
        "dynunet": dynunet([20, 40, 80, 112, 112]),
        "segresnet": Network({"_target_": "SegResNet", "init_filters": 14, "norm": ["GROUP", {"num_groups": 7}]}),
    },
    channels={"in_channels": 1, "out_channels": 3},
    structures=tuple(entry.name for entry in LabelTable.load("hippocampus_crop").structures),
    metrics=METRICS,
    add_arguments=partial(add_arguments, epochs=4, table=False),
    plan=plan_hippocampus,
)
SUBCORTICAL = Study(
    about="""Compares the network of `subcortical` with its twin without Mamba, with a wider one, with published
networks, and with MONAI's DynUNet (the network of nnU-Net) and SegResNet, both with about as many parameters as the
first. Without Mamba, `medsegmamba_small` and `segmamba_bot_small` are the same network. Their trunk works at half
resolution; the other networks work at full resolution.""",
    note=ABSENT_RULE,
    bundle="subcortical",
    networks={
        "medsegmamba_small": Network({"_target_": "medsegmamba_small"}),
        "medsegmamba_small-no_mamba": Network({"_target_": "medsegmamba_small", "mixer": None}),
        "medsegmamba_small-wider": Network(
            {"_target_": "medsegmamba_small", "channels": [48, 72, 144, 192, 192], "final_channels": 96}
        ),
        "segmamba_bot_small": Network({"_target_": "segmamba_bot_small"}),
        "tabsurfer_small": Network({"_target_": "tabsurfer_small", "img_size": "@roi_size"}),
        "dynunet": dynunet([24, 48, 96, 128, 136]),
        "segresnet": Network({"_target_": "SegResNet", "init_filters": 16, "norm": ["GROUP", {"num_groups": 8}]}),
    },
    channels={"in_channels": 1, "out_channels": len(LabelTable.load("subcortical"))},
    structures=tuple(entry.name for entry in LabelTable.load("subcortical").structures),
    metrics=METRICS,
    add_arguments=partial(add_arguments, epochs=12, table=True),
    plan=plan_subcortical,
)
