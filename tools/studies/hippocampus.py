"""Networks for the parts of the hippocampus, on one of the folds by person of the manually labeled crops."""

from __future__ import annotations

import argparse
from typing import ClassVar

import monai_mamba
from monai_mamba.data.folds import split_folds
from monai_mamba.data.pairs import find_pairs
from monai_mamba.labels import LabelTable

from .fold_study import FoldStudy
from .study import Network, dynunet

HYBRID = {
    "channels": [16, 32, 64, 128, 128],
    "depth": 4,
    "d_state": 16,
    "final_channels": 16,
    "dropout_rate": 0.0,
    "drop_path_rate": 0.1,
}
CUBE = {"roi_size": [64] * 3}  # its coarsest stage has one cell for 32 voxels


class HippocampusStudy(FoldStudy):
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
    roi_size = (48, 48, 64)
    epochs = 4
    data = "task 04 of the Medical Segmentation Decathlon"

    def split(self, options: argparse.Namespace) -> tuple[list, list]:
        folds = f"{monai_mamba.bundle_root(self.bundle)}/configs/folds.json"
        return split_folds(find_pairs(options.dataset_dir), folds, options.fold)

    def data_options(self, options: argparse.Namespace) -> dict[str, object]:
        return {"dataset_dir": options.dataset_dir, "fold": options.fold}
