"""Figures that scans are compared by, and what is usual."""

from __future__ import annotations

import math

import numpy as np
import pytest

from monai_mamba.report.results import find_results
from monai_mamba.report.statistics import (
    MIN_SCANS,
    Measure,
    asymmetry,
    measures_of,
    reference_of,
    structures_of,
)


def test_asymmetry_is_positive_where_the_left_is_larger():
    assert asymmetry(110, 90) == pytest.approx(20)
    assert asymmetry(90, 110) == pytest.approx(-20)
    assert asymmetry(0, 5) == -200
    assert asymmetry(0, 0) is None


def test_the_usual_range_of_lognormal_volumes_is_recovered():
    rng = np.random.default_rng(3)
    values = np.exp(rng.normal(math.log(4000), 0.1, size=4000))
    reference = reference_of([*values, 0.0], "volume")
    # Of 4000 values, the median is known to 0.2 % and the spread to 2 % (one standard error): three of each.
    assert reference.median == pytest.approx(4000, rel=6e-3)
    assert reference.low == pytest.approx(4000 * math.exp(-0.196), rel=2e-2)
    assert reference.high == pytest.approx(4000 * math.exp(0.196), rel=2e-2)
    measure = Measure("x", "volume", "mm³", (1,), tuple(values), reference)
    assert sum(measure.is_outlier(scan) for scan in range(4000)) < 8  # 4000 * 0.05 % = 2 are expected


def test_outliers_do_not_hide_themselves_or_each_other():
    values = [100.0 + number % 5 for number in range(20)] + [300.0, 290.0, 0.0]
    measure = Measure("x", "volume", "mm³", (1,), tuple(values), reference_of(values, "volume"))
    assert [measure.is_outlier(scan) for scan in range(23)] == [False] * 20 + [True] * 3
    assert measure.z(22) == -math.inf


@pytest.mark.parametrize(
    "values",
    [
        [float(number) for number in range(1, MIN_SCANS)],  # too few
        [5.0] * 15 + [float(number) for number in range(1, 11)],  # most are equal
        [0.0] * 50 + [float(number) for number in range(1, 26)],  # most scans lack the structure
    ],
)
def test_without_enough_to_go_by_nothing_is_an_outlier(values):
    assert reference_of(values, "volume") is None
    assert not Measure("x", "volume", "mm³", (1,), tuple(values), None).is_outlier(0)


def test_a_high_expected_dsc_is_no_outlier():
    values = [0.80 + number % 5 / 100 for number in range(20)] + [1.0, 0.6]
    measure = Measure("x", "expected_dsc", "", (), tuple(values), reference_of(values, "expected_dsc"))
    assert measure.z(20) > 3.5
    assert (measure.is_outlier(20), measure.is_outlier(21)) == (False, True)


def test_sides_are_paired_by_name(study):
    (result,), _ = find_results(study / "results")
    pairs = {structure.title: structure.rows for structure in structures_of(result)}
    left, right = pairs["Hippocampus"]
    assert (result.volumes[left].name, result.volumes[right].name) == ("Left-Hippocampus", "Right-Hippocampus")
    assert len(pairs["Brain-Stem"]) == 1
    assert sum(map(len, pairs.values())) == len(result.volumes)


def test_a_cohort_finds_its_small_its_missing_and_its_unsure_structure(cohort):
    results, _ = find_results(cohort)
    marked = {
        (measure.title, measure.kind): [result.title for scan, result in enumerate(results) if measure.is_outlier(scan)]
        for measure in measures_of(results)
    }
    expected = ["sub-07/sub-07", "sub-11/sub-11"]
    assert marked["Left-Hippocampus", "volume"] == expected
    assert marked["Hippocampus", "asymmetry"] == expected
    assert (
        marked["Mean expected DSC", "expected_dsc"]
        == marked["Lowest expected DSC", "expected_dsc"]
        == ["sub-15/sub-15"]
    )
    assert sum(map(len, marked.values())) == 6
