"""What the studies of `compare_networks.py` consist of."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from monai_mamba.files import MISSING, read_tsv


class Network(NamedTuple):
    """A network of a study."""

    definition: Mapping[str, object]  # class or preset, and arguments; as in a config, `@roi_size` is the window
    options: Mapping[str, object] = MappingProxyType({})  # others of the bundle that it needs


def dynunet(filters: Sequence[int]) -> Network:
    """MONAI's DynUNet, the network of nnU-Net, with channels of each level, the finest first.

    Kernels are 3 x 3 x 3, and each further level has half the resolution.
    """
    more = len(filters) - 1
    sizes = {"kernel_size": [3] * (more + 1), "strides": [1, *[2] * more], "upsample_kernel_size": [2] * more}
    return Network({"_target_": "DynUNet", "spatial_dims": 3, **sizes, "filters": list(filters)})


class Plan(NamedTuple):
    """What the options of a command line make of a study."""

    training: dict[str, object]  # options of the bundle's training, without the network and the folder
    evaluation: dict[str, object]  # options of its evaluation, without the network, its weights and the folder
    steps: int  # of a training
    window: Sequence[int]  # voxels along each axis
    cases: dict[str, list[str]]  # names of those for `training` and `test`
    recipe: str  # a sentence or two on how the networks are trained


@dataclass
class Study:
    """Networks that are trained and evaluated by the configs of one bundle."""

    about: str  # what is compared, for help and report
    note: str  # a sentence or two that belong beside the scores
    bundle: str
    networks: Mapping[str, Network]  # the others are tested against the first
    channels: Mapping[str, int]  # in and out of every network
    structures: Sequence[str]  # what is scored
    metrics: Mapping[str, tuple[str, int]]  # column of the bundle's table of scores -> heading and digits
    add_arguments: Callable[[argparse.ArgumentParser], None]  # those that this study alone has
    plan: Callable[[argparse.Namespace], Plan]  # refuses data and options that cannot be used
    network_key: str = "network_def"  # entry of the bundle's config that the networks replace

    def definition(self, name: str) -> dict[str, object]:
        """The network of a name with its channels, as it stands in a config."""
        return {**self.networks[name].definition, **self.channels}

    def read_scores(self, path: Path) -> np.ndarray:
        """What an evaluation wrote, `(N, R, M)`: M metrics of R structures of N cases, NaN where there is none."""
        rows = read_tsv(path)
        key = "region" if "region" in rows[0] else "name"
        table = {
            (row["subject"], row[key]): [row[column].replace(MISSING, "nan") for column in self.metrics] for row in rows
        }
        subjects = sorted({subject for subject, _ in table})
        values = [[table[subject, name] for name in self.structures] for subject in subjects]
        return np.array(values, dtype=float)
