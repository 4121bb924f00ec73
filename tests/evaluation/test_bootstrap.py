"""Intervals by subject."""

from __future__ import annotations

import numpy as np
import pytest

from detection.evaluation import metrics
from detection.evaluation.bootstrap import Interval, Owners, estimate


def share(values, owners) -> Interval:
    return estimate(metrics.mean(values), owners)


def test_the_interval_surrounds_the_value_and_is_the_same_each_time():
    values = np.random.default_rng(3).random(60) < 0.3
    first = share(values, Owners([f"s{index}" for index in range(60)]))
    assert first == share(values, Owners([f"s{index}" for index in range(60)]))
    assert first.low < first.value < first.high
    # the textbook's standard error, 1.96 of them to either side
    half = 1.96 * np.sqrt(first.value * (1 - first.value) / 60)
    assert first.high - first.low == pytest.approx(2 * half, rel=0.2)


def test_frames_of_one_person_are_not_independent():
    values = np.repeat(np.random.default_rng(3).random(20) < 0.5, 50)
    by_frame = share(values, Owners([str(index) for index in range(1000)]))
    by_subject = share(values, Owners([str(index // 50) for index in range(1000)]))
    assert by_subject.value == by_frame.value
    assert by_subject.high - by_subject.low > 4 * (by_frame.high - by_frame.low)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(100):
        people = rng.normal(0.0, 1.0, 30)
        values = (people[:, None] + rng.normal(0, 0.5, (30, 5))).ravel()
        found = estimate(metrics.mean(values), Owners([str(index // 5) for index in range(150)]), resamples=200)
        covered += found.low <= 0.0 <= found.high
    assert 85 <= covered <= 100


def test_one_subject_gives_a_value_and_no_interval():
    assert share([1, 0, 1, 1], Owners(["a"] * 4)) == Interval(0.75)


def test_nothing_gives_neither():
    assert share([], Owners([])) == Interval(None)


def test_one_class_gives_neither():
    found = estimate(metrics.auc([1.0, 2.0], np.ones(2, bool)), Owners(["a", "b"]))
    assert found == Interval(None)


def test_no_interval_where_too_many_draws_lack_a_class():
    scores, same = [3.0, 2.0, 1.0], np.array([1, 0, 0], bool)
    assert estimate(metrics.auc(scores, same), Owners(["a", "b", "c"])) == Interval(1.0)


def test_pairs_that_share_a_photograph_move_together():
    # Ten photographs against one another: the matches of one of them are all wrong.
    pairs = [(a, b) for a in range(10) for b in range(a + 1, 10)]
    wrong = [0 in pair for pair in pairs]
    alone = share(wrong, Owners([f"{a}-{b}" for a, b in pairs]))
    shared = share(wrong, Owners([str(a) for a, _ in pairs], [str(b) for _, b in pairs]))
    assert shared.high - shared.low > 1.5 * (alone.high - alone.low)


def test_who_owns_an_item_twice_counts_once():
    names = [str(index) for index in range(30)]
    values = np.random.default_rng(5).random(30)
    assert share(values, Owners(names, names)) == share(values, Owners(names))


def test_many_items_are_weighed_in_pieces(monkeypatch):
    values = np.random.default_rng(6).random(50)
    owners = Owners([str(index) for index in range(50)])
    whole = share(values, owners)
    monkeypatch.setattr("detection.evaluation.bootstrap._CHUNK", 100)
    in_pieces = share(values, owners)
    assert (in_pieces.low, in_pieces.high) == pytest.approx((whole.low, whole.high))
