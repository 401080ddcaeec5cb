"""What the studies of `compare_networks.py` have in common."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from monai_mamba.files import read_tsv


@dataclass(frozen=True)
class Network:
    """A network of a study.

    Attributes:
        definition: class or preset and its arguments, as in a bundle's config, where ``@roi_size`` is the window.
        options: other options of the bundle that it needs.
    """

    definition: Mapping[str, object]
    options: Mapping[str, object] = field(default_factory=dict)


def dynunet(filters: Sequence[int]) -> Network:
    """MONAI's DynUNet, the network of nnU-Net: kernels of 3 x 3 x 3, and half the resolution at each further level.

    Args:
        filters: channels of each level, the finest first.
    """
    levels = len(filters)
    return Network(
        {
            "_target_": "DynUNet",
            "spatial_dims": 3,
            "kernel_size": [3] * levels,
            "strides": [1] + [2] * (levels - 1),
            "upsample_kernel_size": [2] * (levels - 1),
            "filters": list(filters),
        }
    )


class Run(NamedTuple):
    """Configs of a bundle, merged in their order, and the options they are run with."""

    configs: list[str]
    options: dict[str, object]


class Scores(NamedTuple):
    """Names of the N cases, and their scores `(N, R, M)`: M metrics of R structures, NaN where there is none."""

    subjects: list[str]
    values: np.ndarray


class Study(ABC):
    """Networks that are trained and evaluated by the configs of one bundle.

    Attributes:
        bundle: its name.
        networks: what is compared; the others are tested against the first.
        channels: channels in and out of every network.
        structures: what is scored.
        metrics: column of the bundle's table of scores -> heading and digits.
        about: a sentence or two that belong beside the scores.
    """

    bundle: ClassVar[str]
    networks: ClassVar[Mapping[str, Network]]
    channels: ClassVar[Mapping[str, int]]
    structures: ClassVar[Sequence[str]]
    metrics: ClassVar[Mapping[str, tuple[str, int]]]
    about: ClassVar[str]

    @classmethod
    @abstractmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add the options that this study alone has."""

    @abstractmethod
    def check(self, options: argparse.Namespace) -> None:
        """Refuse data and options that cannot be used.

        Raises:
            InputError: see above.
        """

    @abstractmethod
    def training(self, options: argparse.Namespace) -> Run:
        """How each network is trained, without its definition and the folder."""

    @abstractmethod
    def evaluation(self, options: argparse.Namespace) -> Run:
        """How each network is evaluated, without its definition, its weights and the folder."""

    @abstractmethod
    def steps(self, options: argparse.Namespace) -> int:
        """Steps of a training."""

    def window(self, options: argparse.Namespace) -> Sequence[int]:
        """Voxels of a training window along each axis."""
        return [options.window] * 3

    @abstractmethod
    def cases(self, options: argparse.Namespace) -> dict[str, list[str]]:
        """Names of the cases of ``training`` and ``test``."""

    @abstractmethod
    def recipe(self, options: argparse.Namespace) -> str:
        """A sentence or two on how the networks are trained."""

    def network_options(self, name: str) -> dict[str, object]:
        """The option of the bundle that makes it use a network."""
        return {"network_def": {**self.networks[name].definition, **self.channels}}

    def read_scores(self, path: Path) -> Scores:
        """Read the table of scores that an evaluation wrote."""
        rows = read_tsv(path)
        key = "region" if "region" in rows[0] else "name"
        table = {(row["subject"], row[key]): row for row in rows}
        subjects = sorted({subject for subject, _ in table})
        values = [
            [[_number(table[subject, name][column]) for column in self.metrics] for name in self.structures]
            for subject in subjects
        ]
        return Scores(subjects, np.array(values))


def _number(text: str) -> float:
    return float("nan") if text == "n/a" else float(text)
