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
    """A network of a study.

    Attributes:
        definition: class or preset and its arguments, as in a bundle's config, where ``@roi_size`` is the window.
        options: other options of the bundle that it needs.
    """

    definition: Mapping[str, object]
    options: Mapping[str, object] = MappingProxyType({})


def dynunet(filters: Sequence[int]) -> Network:
    """MONAI's DynUNet, the network of nnU-Net: kernels of 3 x 3 x 3, and half the resolution at each further level.

    Args:
        filters: channels of each level, the finest first.
    """
    more = len(filters) - 1
    sizes = {"kernel_size": [3] * (more + 1), "strides": [1, *[2] * more], "upsample_kernel_size": [2] * more}
    return Network({"_target_": "DynUNet", "spatial_dims": 3, **sizes, "filters": list(filters)})


class Plan(NamedTuple):
    """What the options of a command line make of a study.

    Attributes:
        training: options of the bundle's training, without the network and the folder.
        evaluation: options of its evaluation, without the network, its weights and the folder.
        steps: of a training.
        window: voxels of a training window along each axis.
        cases: names of the cases of ``training`` and ``test``.
        recipe: a sentence or two on how the networks are trained.
    """

    training: dict[str, object]
    evaluation: dict[str, object]
    steps: int
    window: Sequence[int]
    cases: dict[str, list[str]]
    recipe: str


@dataclass
class Study:
    """Networks that are trained and evaluated by the configs of one bundle.

    Attributes:
        about: what is compared, for help and report.
        note: a sentence or two that belong beside the scores.
        bundle: its name.
        networks: what is compared; the others are tested against the first.
        channels: channels in and out of every network.
        structures: what is scored.
        metrics: column of the bundle's table of scores -> heading and digits.
        add_arguments: adds the options that this study alone has.
        plan: refuses, with an `InputError`, data and options that cannot be used.
        network_key: entry of the bundle's config that the networks replace.
    """

    about: str
    note: str
    bundle: str
    networks: Mapping[str, Network]
    channels: Mapping[str, int]
    structures: Sequence[str]
    metrics: Mapping[str, tuple[str, int]]
    add_arguments: Callable[[argparse.ArgumentParser], None]
    plan: Callable[[argparse.Namespace], Plan]
    network_key: str = "network_def"

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
