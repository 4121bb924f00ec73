"""When a delivery is tried again."""

from __future__ import annotations

import random
from datetime import timedelta

_MINUTE, _HOUR = 60, 3600
SCHEDULE_S = (0, 5, 15, 30, 60, 5 * _MINUTE, 30 * _MINUTE, *(hours * _HOUR for hours in (2, 5, 10, 14, 20, 24)))
"""Waiting time before each attempt; after the last one a delivery is parked.

As Standard Webhooks 1.0 recommends, and three short steps more: a receiver that restarts is not left alone for minutes.
"""
JITTER = 0.1
"""Up to this share is added to a waiting time, so that what failed together does not come back together."""
EARLY = 0.2
"""Share of a waiting time that must be over before another delivery's success ends it. It keeps an alert that the
subscriber always refuses from using up its attempts while all others arrive."""
WHOLE = timedelta(seconds=sum(SCHEDULE_S) * (1 + JITTER))
"""Longest time from the first attempt to the last. A delivery that a breaker has kept from being tried so often is
parked after it too."""
RETRY_AFTER_MOST_S = _HOUR
"""A subscriber that asks to be left alone longer is asked again after this time."""


def is_exhausted(attempts_made: int) -> bool:
    """Tell whether the schedule holds no more attempts."""
    return attempts_made >= len(SCHEDULE_S)


def waiting_time(attempts_made: int, *, retry_after_s: float | None = None) -> timedelta:
    """Return how long to wait before the next attempt: by the schedule, with jitter, or as long as was asked for."""
    planned_s = SCHEDULE_S[attempts_made] * (1 + JITTER * random.random())  # noqa: S311  # no secret
    return timedelta(seconds=max(planned_s, bounded(retry_after_s)))


def bounded(retry_after_s: float | None) -> float:
    """Return the seconds that a subscriber asked for, within reason; 0 when it asked for none."""
    return min(max(retry_after_s or 0.0, 0.0), RETRY_AFTER_MOST_S)
