"""Volumes of the brain and its parts, as sums of structures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from monai_mamba.files import read_tsv
from monai_mamba.labels.tables import LABEL_FOLDER

BRAIN = "BrainSegVolNotVent"  # what volumes are given in percent of


@dataclass(frozen=True)
class BrainMeasure:
    """A row of `brain_measures.tsv`, which follows FreeSurfer's definitions (its wiki page MorphometryStats).

    Attributes:
        measure: FreeSurfer's key, such as `BrainSegNotVent`.
        name: FreeSurfer's name of the value, such as `BrainSegVolNotVent`; `description` says the same in words.
        ids: labels that it is the sum of. The brain stem is in none: how much of it is seen depends on the scan.
    """

    measure: str
    name: str
    description: str
    ids: tuple[int, ...]


@cache
def brain_measures() -> tuple[BrainMeasure, ...]:
    """All measures, in FreeSurfer's order."""
    rows = read_tsv(LABEL_FOLDER / "brain_measures.tsv")
    return tuple(BrainMeasure(**row | {"ids": tuple(map(int, row["ids"].split(",")))}) for row in rows)


def measure_brain(volumes: Mapping[int, float]) -> dict[str, float]:
    """Value of each measure by its name, from the volumes of label ids.

    Nothing where an id is missing: results without cerebral white matter and cortex have no brain volume.
    """
    if not {label for measure in brain_measures() for label in measure.ids} <= volumes.keys():
        return {}
    return {measure.name: sum(volumes[label] for label in measure.ids) for measure in brain_measures()}
