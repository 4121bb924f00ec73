"""The circuit breaker of a subscription, kept in its row so that all processes share it.

Closed, alerts go out. Failures that look like an outage, ``THRESHOLD`` in a row, open it: nothing is sent and no
attempt is used up. When its time is over it is half open: one alert goes out as a probe, and its success closes the
breaker, its failure opens it for twice as long. A subscriber that asks to be left alone (``Retry-After``) opens it too.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models
from prometheus_client import Counter

from alerts.delivery import schedule
from alerts.models import Subscription
from alerts.outgoing import Result, TransportError

THRESHOLD = 5
FIELDS = ("last_success_at", "failing_since", "failure_count", "breaker_until", "breaker_trips")
"""What it keeps in the row."""
OPEN_S = 5.0
"""For how long the breaker opens at first."""
OPEN_MOST_S = 300.0

OPENED = Counter("sdproctor_breaker_opened", "Times a subscription's breaker opened.", ["transport"])


class State(models.TextChoices):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


def state(subscription: Subscription, now: datetime) -> State:
    """Return the breaker's state."""
    if subscription.breaker_until is not None and subscription.breaker_until > now:
        return State.OPEN
    return State.HALF_OPEN if subscription.failure_count >= THRESHOLD else State.CLOSED


def calls_allowed(subscription: Subscription, now: datetime) -> int:
    """Return how many calls may be under way at once: one while there is trouble, none while the breaker is open."""
    if state(subscription, now) is State.OPEN:
        return 0
    return 1 if subscription.failure_count else subscription.concurrency


def note(subscription: Subscription, result: Result, now: datetime) -> None:
    """Change the row, which the caller holds locked and saves, by what came of one alert."""
    if not isinstance(result, TransportError):
        close(subscription, now)
        return
    subscription.failing_since = subscription.failing_since or now
    if result.is_outage:
        _note_outage(subscription, result, now)


def close(subscription: Subscription, now: datetime) -> None:
    """Note a success in the row, which the caller holds locked and saves."""
    subscription.last_success_at = now
    subscription.failing_since = subscription.breaker_until = None
    subscription.failure_count = subscription.breaker_trips = 0


def _note_outage(subscription: Subscription, error: TransportError, now: datetime) -> None:
    subscription.failure_count += 1
    is_open = state(subscription, now) is State.OPEN
    if subscription.failure_count >= THRESHOLD and not is_open:
        open_s = min(OPEN_MOST_S, OPEN_S * 2**subscription.breaker_trips)
        subscription.breaker_until = now + timedelta(seconds=open_s)
        subscription.breaker_trips = min(subscription.breaker_trips + 1, 32)
        OPENED.labels(transport=subscription.transport).inc()
    if asked_s := schedule.bounded(error.retry_after_s):
        until = now + timedelta(seconds=asked_s)
        subscription.breaker_until = max(until, subscription.breaker_until or until)
