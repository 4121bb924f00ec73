"""Figures as functions of weights, in numpy alone, for all draws of a bootstrap at once.

Each function takes the measured items and returns a ``Statistic``: weights ``(R, n)`` in, the figure in each draw
``(R,)`` out, NaN where a draw does not define it (one class is missing, nothing is weighed). With weights of one it is
the figure itself. A higher score means "the same person", "speech", and so on: the positive class.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detection.evaluation.bootstrap import Statistic, Weights

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]
_EPSILON = 1e-9


def _ratio(numerator: Values, denominator: Values) -> Values:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(denominator > _EPSILON, numerator / denominator, np.nan), np.float64)


def _floats(values: Sequence[float] | Values | Mask) -> Values:
    return np.asarray(values, np.float64)


def total(values: Sequence[float] | Values | Mask) -> Statistic:
    """Sum: a count."""
    given = _floats(values)
    return lambda weights: weights @ given


def ratio(numerators: Sequence[float] | Values | Mask, denominators: Sequence[float] | Values | Mask) -> Statistic:
    """Sum over sum: a share of items, or events per hour."""
    above, below = _floats(numerators), _floats(denominators)
    return lambda weights: _ratio(weights @ above, weights @ below)


def mean(values: Sequence[float] | Values | Mask) -> Statistic:
    """Mean over all items: a share, where the values are true and false."""
    return ratio(values, np.ones(len(values)))


def median(values: Sequence[float] | Values) -> Statistic:
    """Weighted median; of an even number of items the mean of the two in the middle."""
    given = _floats(values)
    order = np.argsort(given, kind="stable")

    def statistic(weights: Weights) -> Values:
        if not len(given):
            return np.full(len(weights), np.nan)
        below = np.cumsum(weights[:, order], axis=1)
        half = below[:, -1:] / 2
        lower = np.argmax(below >= half - _EPSILON, axis=1)
        upper = np.argmax(below > half + _EPSILON, axis=1)
        middle = (given[order][lower] + given[order][upper]) / 2
        return np.asarray(np.where(half[:, 0] > 0, middle, np.nan), np.float64)

    return statistic


def f1(predicted: Mask, actual: Mask) -> Statistic:
    """Harmonic mean of precision and recall; undefined where neither the label nor the measure is positive."""
    return ratio(2 * (predicted & actual).astype(np.float64), predicted.astype(np.float64) + actual)


def precision(predicted: Mask, actual: Mask) -> Statistic:
    """Share of what was called positive that is."""
    return ratio(predicted & actual, predicted)


def recall(predicted: Mask, actual: Mask) -> Statistic:
    """Share of what is positive that was called so."""
    return ratio(predicted & actual, actual)


def balanced_accuracy(predicted: Sequence[str], actual: Sequence[str]) -> Statistic:
    """Mean of the recalls of the classes that occur; a draw averages over the classes that occur in it."""
    said, is_ = np.asarray(predicted, dtype=str), np.asarray(actual, dtype=str)
    recalls = [recall((said == name) & (is_ == name), is_ == name) for name in np.unique(is_)]

    def statistic(weights: Weights) -> Values:
        if not recalls:
            return np.full(len(weights), np.nan)
        each = np.stack([one(weights) for one in recalls])
        occurs = np.isfinite(each)
        return _ratio(np.where(occurs, each, 0.0).sum(axis=0), occurs.sum(axis=0).astype(np.float64))

    return statistic


# --- Scores with a threshold that varies ------------------------------------------------------------------------------
class _Ranking:
    """Items in falling order of their scores, equal scores together."""

    def __init__(self, scores: Sequence[float] | Values, positive: Mask) -> None:
        given = _floats(scores)
        self._order = np.argsort(-given, kind="stable")
        ranked = given[self._order]
        self._starts = np.flatnonzero(np.r_[True, np.diff(ranked) != 0][: len(ranked)])
        self._positive = np.asarray(positive, bool)[self._order]

    def masses(self, weights: Weights) -> tuple[Values, Values]:
        """Return the weight of positives and of negatives at each distinct score, ``(R, groups)``."""
        if not len(self._order):
            return np.zeros((len(weights), 0)), np.zeros((len(weights), 0))
        ranked = weights[:, self._order]
        positives = np.add.reduceat(ranked * self._positive, self._starts, axis=1)
        negatives = np.add.reduceat(ranked * ~self._positive, self._starts, axis=1)
        return positives, negatives


def auc(scores: Sequence[float] | Values, positive: Mask) -> Statistic:
    """Area under the ROC curve: how often a positive scores higher than a negative, ties counting half."""
    ranking = _Ranking(scores, positive)

    def statistic(weights: Weights) -> Values:
        positives, negatives = ranking.masses(weights)
        above = np.cumsum(positives, axis=1) - positives  # positives with a higher score than this group's
        wins = (negatives * (above + positives / 2)).sum(axis=1)
        return _ratio(wins, positives.sum(axis=1) * negatives.sum(axis=1))

    return statistic


def fnmr_at_fmr(scores: Sequence[float] | Values, same: Mask, fmr: float) -> Statistic:
    """False non-match rate at the lowest threshold whose false match rate is at most ``fmr``."""
    ranking = _Ranking(scores, same)

    def statistic(weights: Weights) -> Values:
        genuine, impostor = ranking.masses(weights)
        accepted, false = np.cumsum(genuine, axis=1), np.cumsum(impostor, axis=1)
        genuines, impostors = genuine.sum(axis=1), impostor.sum(axis=1)
        allowed = (false <= fmr * impostors[:, None] + _EPSILON).sum(axis=1)  # false only grows
        with_none = np.hstack([np.zeros((len(weights), 1)), accepted])
        found = np.take_along_axis(with_none, allowed[:, None], axis=1)[:, 0]
        missed = 1 - _ratio(found, genuines)
        return np.asarray(np.where(impostors > _EPSILON, missed, np.nan), np.float64)

    return statistic


def eer(scores: Sequence[float] | Values, same: Mask) -> Statistic:
    """Equal error rate: where the false match rate and the false non-match rate cross, linear between thresholds."""
    ranking = _Ranking(scores, same)

    def statistic(weights: Weights) -> Values:
        genuine, impostor = ranking.masses(weights)
        if not genuine.shape[1]:
            return np.full(len(weights), np.nan)
        none = np.zeros((len(weights), 1))
        accepted = np.hstack([none, np.cumsum(genuine, axis=1)])
        false = np.hstack([none, np.cumsum(impostor, axis=1)])
        fnmr, fmr = 1 - _ratio(accepted, accepted[:, -1:]), _ratio(false, false[:, -1:])
        defined = np.isfinite(fnmr).all(axis=1) & np.isfinite(fmr).all(axis=1)
        after = np.maximum(np.argmax(fmr >= fnmr, axis=1), 1)[:, None]
        f0, f1_ = np.take_along_axis(fmr, after - 1, axis=1), np.take_along_axis(fmr, after, axis=1)
        m0, m1 = np.take_along_axis(fnmr, after - 1, axis=1), np.take_along_axis(fnmr, after, axis=1)
        share = _ratio(m0 - f0, (m0 - f0) - (m1 - f1_))
        return np.asarray(np.where(defined, (f0 + share * (f1_ - f0))[:, 0], np.nan), np.float64)

    return statistic


def d_prime(scores: Sequence[float] | Values, same: Mask) -> Statistic:
    """Distance of the two means in units of the root of the mean variance: how far apart the distributions lie."""
    given, is_same = _floats(scores), np.asarray(same, bool)

    def moments(weights: Weights, mask: Mask) -> tuple[Values, Values]:
        weight = weights @ mask.astype(np.float64)
        centre = _ratio(weights @ (given * mask), weight)
        spread = _ratio(weights @ (given * given * mask), weight) - centre * centre
        return centre, np.maximum(spread, 0.0)

    def statistic(weights: Weights) -> Values:
        genuine, impostor = moments(weights, is_same), moments(weights, ~is_same)
        return _ratio(np.abs(genuine[0] - impostor[0]), np.sqrt((genuine[1] + impostor[1]) / 2))

    return statistic
