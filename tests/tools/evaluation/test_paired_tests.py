"""Tests between methods on numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from evaluation.paired_tests import holm, paired_tests, signed_rank_test

from monai_mamba.labels import LabelTable
from monai_mamba.metrics.score_tables import ALL

NAN = float("nan")
STRUCTURES = LabelTable.load("subcortical").structures[:2]


def test_holm_multiplies_by_the_tests_that_are_left_and_keeps_the_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.4, 0.9]) == pytest.approx([1.0, 1.0, 1.0])
    assert holm([]) == []


def test_holm_does_not_count_tests_that_could_not_be_made():
    first, second, third = holm([NAN, 0.02, 0.03])
    assert math.isnan(first)
    assert (second, third) == pytest.approx((0.04, 0.04))


def test_signed_rank_test_with_one_difference_against_the_others():
    # Ranks 1..6, the smallest one negative: W- = 1, and 2 of the 64 sign patterns are as extreme on that side.
    p, effect = signed_rank_test(np.array([-0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    assert p == pytest.approx(2 * 2 / 64)
    assert effect == pytest.approx((20 - 1) / 21)
    assert signed_rank_test(-np.array([-0.1, 0.2, 0.3, 0.4, 0.5, 0.6])) == pytest.approx((p, -effect))


def test_equal_values_are_left_out():
    assert signed_rank_test(np.array([0.0, 0.1, 0.0, 0.2, 0.3])) == pytest.approx((2 / 8, 1.0))
    assert signed_rank_test(np.zeros(4)) == (1.0, 0.0)
    assert all(math.isnan(value) for value in signed_rank_test(np.zeros(0)))


def scores(dsc: list[list[float]], distance: list[list[float]]) -> torch.Tensor:
    """`(N, 2, 4)` scores from DSC (also used as VS) and a distance (used as both) of each scan and structure."""
    return torch.tensor([dsc, dsc, distance, distance]).permute(1, 2, 0)


def test_means_compare_the_structures_that_both_methods_have():
    a = scores([[0.9, 0.0], [0.8, 0.6], [NAN, NAN]], [[1.0, NAN], [2.0, 3.0], [NAN, NAN]])
    b = scores([[0.8, 0.5], [0.7, 0.4], [NAN, 0.0]], [[1.5, 9.0], [2.5, 4.0], [NAN, NAN]])
    tests = {(test.metric, test.id): test for test in paired_tests({"a": a, "b": b}, STRUCTURES)}
    assert len(tests) == 4 * 3
    dsc = tests["dsc", "n/a"]
    assert (dsc.name, dsc.method_a, dsc.method_b, dsc.n, dsc.n_unpaired) == (ALL, "a", "b", 2, 1)
    # scan 1: (0.1 - 0.5) / 2, scan 2: (0.1 + 0.2) / 2
    assert dsc.mean_difference == pytest.approx((-0.2 + 0.15) / 2, abs=1e-6)
    distance = tests["assd_mm", "n/a"]
    # scan 1: -0.5 alone, although b has 9 mm more for the structure that a has not found; scan 2: (-0.5 - 1) / 2
    assert (distance.n, distance.n_unpaired) == (2, 1)
    assert distance.mean_difference == pytest.approx((-0.5 - 0.75) / 2, abs=1e-6)
    single = tests["hd95_mm", STRUCTURES[1].id]
    assert (single.n, single.n_unpaired, single.mean_difference) == (1, 1, pytest.approx(-1.0))


def test_means_and_structures_are_two_families():
    rng = np.random.default_rng(0)
    better, worse = (torch.tensor(rng.uniform(low, low + 0.05, (8, 2, 4))).float() for low in (0.9, 0.5))
    tests = paired_tests({"a": better, "b": worse, "c": worse.clone()}, STRUCTURES)
    p = 2 / 2**8
    for number, family in (
        (12, [test for test in tests if test.name == ALL]),
        (24, [test for test in tests if test.name != ALL]),
    ):
        assert len(family) == number
        different = [test for test in family if test.method_a == "a"]
        assert [test.p for test in different] == pytest.approx([p] * (number * 2 // 3))
        assert [test.p_holm for test in different] == pytest.approx([number * p] * (number * 2 // 3))
        same = [(test.p, test.p_holm, test.effect_size) for test in family if test.method_a == "b"]
        assert same == [(1.0, 1.0, 0.0)] * (number // 3)


def test_differences_below_the_precision_of_a_score_are_none():
    a = scores([[0.9, 0.5], [0.8, 0.5]], [[1.0, 1.0], [1.0, 1.0]])
    tests = paired_tests({"a": a, "b": a + 1e-7}, STRUCTURES)
    assert all(test.p == 1 and test.mean_difference == 0 for test in tests)


def test_structure_that_one_method_never_has():
    a = scores([[0.9, 0.0]] * 6, [[1.0, NAN]] * 6)
    b = scores([[0.8, 0.7]] * 6, [[1.0, 1.0]] * 6)
    tests = {(test.metric, test.id): test for test in paired_tests({"a": a, "b": b}, STRUCTURES)}
    missing = tests["assd_mm", STRUCTURES[1].id]
    assert (missing.n, missing.n_unpaired) == (0, 6)
    assert math.isnan(missing.p)
    assert math.isnan(missing.p_holm)
    assert math.isnan(missing.mean_difference)
    assert tests["dsc", STRUCTURES[1].id].effect_size == -1
