"""Figures: against values worked out by hand, against brute force, and in their properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.evaluation import metrics


def once(statistic, count: int) -> float:
    """The figure of the data as they are."""
    return float(statistic(np.ones((1, count)))[0])


SCORES = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
SAME = np.array([1, 1, 0, 1, 0, 0], bool)


def test_auc_counts_the_pairs_in_the_right_order():
    assert once(metrics.auc(SCORES, SAME), 6) == pytest.approx(8 / 9)


def test_auc_counts_ties_half():
    assert once(metrics.auc([0.5, 0.5, 0.5], np.array([1, 0, 0], bool)), 3) == pytest.approx(0.5)


def test_fnmr_at_fmr_takes_the_lowest_threshold_that_lets_few_enough_impostors_in():
    assert once(metrics.fnmr_at_fmr(SCORES, SAME, 0.0), 6) == pytest.approx(1 / 3)
    assert once(metrics.fnmr_at_fmr(SCORES, SAME, 1 / 3), 6) == 0
    assert once(metrics.fnmr_at_fmr([0.9, 0.5], np.array([0, 1], bool), 0.1), 2) == 1


def test_a_threshold_cannot_split_equal_scores():
    assert once(metrics.fnmr_at_fmr([0.5, 0.5, 0.9], np.array([1, 0, 1], bool), 0.1), 3) == pytest.approx(0.5)


def test_eer_lies_where_the_two_errors_cross():
    assert once(metrics.eer(SCORES, SAME), 6) == pytest.approx(1 / 3)
    assert once(metrics.eer([4, 3, 2, 1], np.array([1, 1, 0, 0], bool)), 4) == 0
    assert once(metrics.eer([4, 3, 2, 1], np.array([0, 0, 1, 1], bool)), 4) == 1


def test_d_prime_of_two_known_distributions():
    scores, same = [1.0, 3.0, 6.0, 8.0], np.array([0, 0, 1, 1], bool)
    assert once(metrics.d_prime(scores, same), 4) == pytest.approx((7 - 2) / 1)


def test_f1_precision_and_recall():
    said, true = np.array([1, 1, 1, 0, 0], bool), np.array([1, 1, 0, 1, 0], bool)
    assert once(metrics.precision(said, true), 5) == pytest.approx(2 / 3)
    assert once(metrics.recall(said, true), 5) == pytest.approx(2 / 3)
    assert once(metrics.f1(said, true), 5) == pytest.approx(2 / 3)


def test_balanced_accuracy_gives_a_rare_class_the_same_say():
    actual, said = ["center"] * 8 + ["left"] * 2, ["center"] * 8 + ["left", "center"]
    assert once(metrics.balanced_accuracy(said, actual), 10) == pytest.approx(0.75)


def test_median_of_even_and_odd_numbers():
    assert once(metrics.median([3.0, 1.0, 2.0]), 3) == 2
    assert once(metrics.median([4.0, 1.0, 2.0, 3.0]), 4) == 2.5


def test_a_rate_per_hour_is_a_sum_over_a_sum():
    assert once(metrics.ratio([1, 0, 2], [0.5, 0.5, 1.0]), 3) == pytest.approx(1.5)


ONE_CLASS = np.ones(3, bool)


@pytest.mark.parametrize(
    "statistic",
    [
        metrics.auc([1, 2, 3], ONE_CLASS),
        metrics.eer([1, 2, 3], ONE_CLASS),
        metrics.d_prime([1, 2, 3], ONE_CLASS),
        metrics.fnmr_at_fmr([1, 2, 3], ONE_CLASS, 0.1),
        metrics.fnmr_at_fmr([1, 2, 3], ~ONE_CLASS, 0.1),
        metrics.recall(ONE_CLASS, ~ONE_CLASS),
        metrics.f1(~ONE_CLASS, ~ONE_CLASS),
    ],
)
def test_a_figure_that_lacks_a_class_is_undefined(statistic):
    assert math.isnan(once(statistic, 3))


@pytest.mark.parametrize(
    "statistic",
    [
        metrics.auc([], np.zeros(0, bool)),
        metrics.eer([], np.zeros(0, bool)),
        metrics.median([]),
        metrics.mean([]),
        metrics.balanced_accuracy([], []),
        metrics.fnmr_at_fmr([], np.zeros(0, bool), 0.1),
    ],
)
def test_a_figure_of_nothing_is_undefined(statistic):
    assert math.isnan(once(statistic, 0))


scores_and_labels = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=40)


@given(scores_and_labels)
@settings(max_examples=60, deadline=None)
def test_weighing_an_item_twice_is_having_it_twice(items):
    scores, same = [float(score) for score, _ in items], np.array([label for _, label in items], bool)
    weights = np.arange(len(items)) % 3
    repeated = [score for score, times in zip(scores, weights, strict=True) for _ in range(times)]
    labels = np.repeat(same, weights)
    for make in (metrics.auc, metrics.eer, metrics.d_prime, lambda s, y: metrics.fnmr_at_fmr(s, y, 0.2)):
        weighed = float(make(scores, same)(weights[None].astype(float))[0])
        assert weighed == pytest.approx(once(make(repeated, labels), len(repeated)), nan_ok=True, abs=1e-6)


@given(scores_and_labels)
@settings(max_examples=60, deadline=None)
def test_auc_is_the_share_of_pairs_in_order(items):
    positive = [score for score, label in items if label]
    negative = [score for score, label in items if not label]
    wins = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    expected = sum(wins) / len(wins) if wins else math.nan
    labels = np.array([label for _, label in items], bool)
    assert once(metrics.auc([float(s) for s, _ in items], labels), len(items)) == pytest.approx(expected, nan_ok=True)


@given(scores_and_labels)
@settings(max_examples=60, deadline=None)
def test_errors_are_shares_and_turning_the_scores_around_turns_the_auc_around(items):
    scores, labels = np.array([float(score) for score, _ in items]), np.array([label for _, label in items], bool)
    area, error = once(metrics.auc(scores, labels), len(items)), once(metrics.eer(scores, labels), len(items))
    if math.isfinite(area):
        assert 0 <= area <= 1
        assert -1e-9 <= error <= 1 + 1e-9
        assert area + once(metrics.auc(-scores, labels), len(items)) == pytest.approx(1)
