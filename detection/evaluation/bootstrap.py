"""Confidence intervals by subject: whole people (or files) are drawn again and again, never single frames.

A hundred frames of one person are not a hundred independent measurements, so the unit that is drawn is the *owner*: the
``subject`` of the layout, without one the file. A comparison of two files belongs to both: it counts as often as the
product of the two draws (the pigeonhole bootstrap, Owen 2007), so that pairs which share a photograph move together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
"""``(R, n)``: how often each of n items counts in each of R draws."""
Statistic = Callable[[Weights], NDArray[np.float64]]
"""Returns ``(R,)``: the figure in each draw, NaN where it is not defined."""

RESAMPLES = 1000
SEED = 20_260_101
LEVEL = 0.95
_MIN_DEFINED = 0.9
"""An interval from draws of which more than a tenth lack a whole class would be one of another figure."""
_CHUNK = 2_000_000
"""Numbers per matrix of weights: 16 MB."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its interval; None where there is nothing to form it from."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Owners:
    """Who owns each item. ``columns``: one name per item, in one or (for comparisons) two columns."""

    def __init__(self, *columns: Sequence[str]) -> None:
        sizes = {len(column) for column in columns}
        if len(sizes) != 1:
            raise ValueError("every item needs an owner in each column")
        self.count = sizes.pop()
        names, ids = np.unique(
            np.array([name for column in columns for name in column], dtype=str), return_inverse=True
        )
        self._names = len(names)
        self._columns = ids.reshape(len(columns), self.count)

    @property
    def distinct(self) -> int:
        """Return how many owners there are."""
        return self._names

    def once(self) -> Weights:
        """Return the weights of the data as they are, ``(1, n)``."""
        return np.ones((1, self.count))

    def draw(self, rng: np.random.Generator, draws: int) -> Weights:
        """Draw owners with replacement ``draws`` times; return each item's weight, ``(draws, n)``."""
        times = rng.multinomial(self._names, np.full(self._names, 1 / self._names), size=draws).astype(np.float64)
        weights: Weights = times[:, self._columns[0]]
        for column in self._columns[1:]:  # whoever owns an item twice counts once
            weights = weights * np.where(column == self._columns[0], 1.0, times[:, column])
        return weights


def estimate(statistic: Statistic, owners: Owners, *, resamples: int = RESAMPLES, seed: int = SEED) -> Interval:
    """Return a figure with its 95 % percentile interval.

    The value is None where the data do not define it (no item, one class only). The interval is None where there is one
    owner only, or where more than a tenth of the draws do not define the figure.
    """
    if owners.count == 0:
        return Interval(None)
    value = float(statistic(owners.once())[0])
    if not np.isfinite(value):
        return Interval(None)
    if owners.distinct < 2:
        return Interval(value)
    rng = np.random.default_rng(seed)
    step = max(1, min(resamples, _CHUNK // owners.count))
    parts = [statistic(owners.draw(rng, min(step, resamples - start))) for start in range(0, resamples, step)]
    drawn = np.concatenate(parts)
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < _MIN_DEFINED * resamples:
        return Interval(value)
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
