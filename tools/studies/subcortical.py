"""Networks for subcortical structures, on one of the folds by person of labeled scans."""

from __future__ import annotations

import argparse
from typing import ClassVar

from monai_mamba.data import describe_pairs, find_pairs, split_fold
from monai_mamba.labels import LabelTable

from .fold_study import FoldStudy
from .study import Network, Run, dynunet


class SubcorticalStudy(FoldStudy):
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
    roi_size = (96, 96, 96)
    epochs = 12
    data = "scans with FreeSurfer's label maps beside them"
    evaluated = " Windows are evaluated in one pass, not mirrored."

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--scan_table", required=True, help="TSV file with person and fold of each scan")

    def split(self, options: argparse.Namespace) -> tuple[list, list]:
        return split_fold(describe_pairs(find_pairs(options.dataset_dir), options.scan_table), options.fold)

    def data_options(self, options: argparse.Namespace) -> dict[str, object]:
        return {"dataset_dir": options.dataset_dir, "scan_table": options.scan_table, "fold": options.fold}

    def training(self, options: argparse.Namespace) -> Run:
        run = super().training(options)
        return run._replace(options={**run.options, "val_interval": options.epochs + 1})

    def evaluation(self, options: argparse.Namespace) -> Run:
        run = super().evaluation(options)
        return run._replace(options={**run.options, "val_pairs": "$@split[1]", "mirror": False, "num_workers": 0})
