"""Tests whether two methods differ on the same scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats

from monai_mamba.files import MISSING
from monai_mamba.labels import LabelEntry
from monai_mamba.metrics.score_tables import ALL
from monai_mamba.metrics.structure_scores import SCORES

TITLES = {"dsc": "DSC", "vs": "VS", "assd_mm": "ASSD (mm)", "hd95_mm": "HD95 (mm)"}
TEST_NOTES = {
    "method_a, method_b": "Differences are a - b. A positive one is in favor of a for DSC and VS, of b for distances.",
    "n": "Scans tested.",
    "n_unpaired": "Values left out of the test because only one of the two methods has one.",
    "mean_difference, median_difference": f"Over the scans. '{ALL}': the difference of a scan is the mean over those "
    "structures for which both methods have a value.",
    "p": "Two-sided Wilcoxon signed-rank test without the scans that do not differ. With fewer than 6 scans that "
    "differ, p cannot fall below 0.05.",
    "p_holm": f"p with Holm's correction over the methods and metrics of '{ALL}' in a data set; in a family of their "
    "own, over the methods, metrics and structures of a data set.",
    "effect_size": "Matched-pairs rank-biserial correlation (W+ - W-) / (W+ + W-) of the signed-rank sums, -1..1, with "
    "the sign of the difference.",
}


class PairedTest(NamedTuple):
    """One test: two methods, one metric, one structure or the mean over all; see `TEST_NOTES`."""

    metric: str
    id: int | str
    name: str
    method_a: str
    method_b: str
    n: int
    n_unpaired: int
    mean_difference: float
    median_difference: float
    p: float
    p_holm: float
    effect_size: float


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of a family of tests (Holm, Scandinavian Journal of Statistics 6:65-70, 1979).

    NaN stands for a test that could not be made: it does not count, and stays.
    """
    values = np.array(p_values, dtype=float)
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]  # NaN comes last
    values[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)), 1)
    return values.tolist()


def signed_rank_test(differences: np.ndarray) -> tuple[float, float]:
    """Wilcoxon's signed-rank test, two-sided, of differences without NaN; zeros are left out, as Wilcoxon did.

    Returns the p-value (1 where nothing differs) and the matched-pairs rank-biserial correlation, -1..1 (Kerby,
    Comprehensive Psychology 3:1, 2014); both are NaN where there are no pairs.
    """
    if not len(differences):
        return float("nan"), float("nan")
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 1.0, 0.0
    ranks = stats.rankdata(np.abs(nonzero))
    effect = (ranks * np.sign(nonzero)).sum() / ranks.sum()
    return float(stats.wilcoxon(nonzero, alternative="two-sided").pvalue), float(effect)


def paired_tests(scores: Mapping[str, torch.Tensor], structures: Sequence[LabelEntry]) -> list[PairedTest]:
    """Test all pairs of methods, for each metric on the mean over the structures and on each structure.

    Scores are `(N, C, 4)` of each method on the same N scans, columns as in `SCORES`, NaN where missing. Holm's
    correction has two families: the means, and the structures.
    """
    means, single = [], []
    for (first, a), (second, b) in combinations(scores.items(), 2):
        for column, metric in enumerate(SCORES):
            one, other = a[..., column].double().numpy(), b[..., column].double().numpy()
            # Scores are float32: differences below their precision are none, and must not get a rank.
            difference = np.round(one - other, 6)
            unpaired = np.isnan(one) != np.isnan(other)
            names = (metric, first, second)
            in_scan = difference[~np.isnan(difference).all(axis=1)]
            means.append(_test(names, MISSING, ALL, np.round(np.nanmean(in_scan, axis=1), 6), unpaired))
            for entry, values, left_out in zip(structures, difference.T, unpaired.T, strict=True):
                single.append(_test(names, entry.id, entry.name, values[~np.isnan(values)], left_out))
    return [*_corrected(means), *_corrected(single)]


def _test(
    names: tuple[str, str, str], label: int | str, structure: str, values: np.ndarray, unpaired: np.ndarray
) -> PairedTest:
    metric, first, second = names
    mean, median = (float(values.mean()), float(np.median(values))) if len(values) else (float("nan"),) * 2
    p, effect = signed_rank_test(values)
    counts = len(values), int(unpaired.sum())
    return PairedTest(metric, label, structure, first, second, *counts, mean, median, p, p, effect)


def _corrected(family: list[PairedTest]) -> list[PairedTest]:
    corrected = holm([test.p for test in family])
    return [test._replace(p_holm=p) for test, p in zip(family, corrected, strict=True)]
