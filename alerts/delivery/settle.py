"""Write down what came of calls, many at a time in one transaction: attempts, deliveries, health, notices."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone
from prometheus_client import Counter, Histogram

from alerts.delivery import breaker, notices, schedule
from alerts.delivery.call import Item, Sent, failed
from alerts.delivery.rows import subscriptions_save
from alerts.models import Delivery, Subscription
from alerts.outgoing import Result, TransportError

logger = logging.getLogger(__name__)

ATTEMPTS = Counter("sdproctor_delivery_attempts", "Tries at delivering an alert.", ["transport", "outcome"])
DURATION = Histogram("sdproctor_delivery_seconds", "How long a try took.", ["transport"])
DELAY = Histogram(
    "sdproctor_delivery_delay_seconds",
    "From the alert's commit to its delivery.",
    ["transport"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600, 36000),
)

# Whoever holds the lease by now: it did arrive.
_DELIVERED = """
UPDATE alerts_delivery
SET state = 'delivered', delivered_at = %s, lease = NULL, leased_until = NULL, attempt_count = attempt_count + 1
WHERE id = ANY(%s) AND state <> 'delivered'
"""
# Unless another worker took over after the lease had run out.
_FAILED = """
UPDATE alerts_delivery d
SET state = v.state, next_attempt_at = v.next_attempt_at, lease = NULL, leased_until = NULL,
    attempt_count = v.attempt_count
FROM unnest(%s::bigint[], %s::uuid[], %s::text[], %s::timestamptz[], %s::int[])
    AS v(id, lease, state, next_attempt_at, attempt_count)
WHERE d.id = v.id AND d.lease = v.lease AND d.state = 'pending'
RETURNING d.id
"""
_HELD = """
UPDATE alerts_delivery d SET lease = NULL, leased_until = NULL
FROM unnest(%s::bigint[], %s::uuid[]) AS v(id, lease) WHERE d.id = v.id AND d.lease = v.lease
"""
_ATTEMPTS = """
INSERT INTO alerts_deliveryattempt
    (organisation_id, delivery_id, attempted_at, duration_ms, status_code, response, error)
SELECT v.* FROM unnest(%s::bigint[], %s::bigint[], %s::timestamptz[], %s::float8[], %s::int[], %s::text[], %s::text[])
    AS v(organisation_id, delivery_id, attempted_at, duration_ms, status_code, response, error)
WHERE EXISTS (SELECT FROM alerts_delivery d WHERE d.id = v.delivery_id FOR KEY SHARE)
"""
_BRING_FORWARD = """
UPDATE alerts_delivery
SET next_attempt_at = %(now)s
WHERE subscription_id = ANY(%(ids)s) AND state = 'pending' AND lease IS NULL
  AND next_attempt_at > %(now)s AND attempt_count BETWEEN 1 AND %(most)s
  AND next_attempt_at <= %(now)s + (%(waits)s::float8[])[attempt_count] * interval '1 second'
"""


@dataclass(frozen=True, slots=True)
class _Tried:
    """One alert that was sent, and what came of it."""

    sent: Sent
    item: Item
    result: Result
    started_at: datetime
    duration_s: float

    @property
    def error(self) -> TransportError | None:
        return failed(self.result)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What becomes of a delivery that failed."""

    tried: _Tried
    error: TransportError
    state: Delivery.State
    next_attempt_at: datetime


def settle(calls: Sequence[Sent]) -> set[uuid.UUID]:
    """Write the calls down; return the subscriptions for which notices were queued meanwhile."""
    if not calls:
        return set()
    now = timezone.now()
    tried = [attempt for sent in calls for attempt in _tried(sent)]
    verdicts = [_verdict(attempt, attempt.error, now) for attempt in tried if attempt.error is not None]
    with transaction.atomic():
        rows = _lock({sent.call.subscription_id for sent in calls})
        _write_attempts(tried)
        _write_delivered(tried, now)
        parked = _write_failed(verdicts)
        _release_held(calls)
        _note_health(rows, calls, tried, now)
        told = notices.parked(parked, now)
    _count(tried, verdicts, now)
    return told


def _tried(sent: Sent) -> Iterator[_Tried]:
    """Yield what was sent, not what was held; one after the other where the transport tells how long each took."""
    started_at = sent.started_at
    for item, result in zip(sent.call.items, sent.results, strict=True):
        if isinstance(result, TransportError) and result.held:
            continue
        took_s = sent.duration_s if result.duration_s is None else result.duration_s
        yield _Tried(sent, item, result, started_at, took_s)
        if result.duration_s is not None:
            started_at += timedelta(seconds=took_s)


def _verdict(tried: _Tried, error: TransportError, now: datetime) -> _Verdict:
    count = tried.item.attempt_count + 1
    too_old = error.is_outage and tried.item.queued_at < now - schedule.WHOLE
    if error.permanent or too_old or schedule.is_exhausted(count):
        return _Verdict(tried, error, Delivery.State.PARKED, now)
    wait = schedule.waiting_time(count, retry_after_s=error.retry_after_s)
    return _Verdict(tried, error, Delivery.State.PENDING, now + wait)


def _lock(ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Subscription]:
    locked = Subscription.objects.select_for_update(no_key=True).filter(id__in=ids).order_by("id")
    return {row.id: row for row in locked}


def _write_attempts(tried: Sequence[_Tried]) -> None:
    """Write every try; one whose delivery was erased meanwhile is left out."""
    columns: list[list[Any]] = [
        [attempt.sent.call.organisation_id for attempt in tried],
        [attempt.item.delivery_id for attempt in tried],
        [attempt.started_at for attempt in tried],
        [round(attempt.duration_s * 1000, 1) for attempt in tried],
        [attempt.result.status_code for attempt in tried],
        [_storable(attempt.result.excerpt) for attempt in tried],
        [_storable(str(attempt.error or "")) for attempt in tried],
    ]
    if tried:
        with connection.cursor() as cursor:
            cursor.execute(_ATTEMPTS, columns)


def _storable(text: str) -> str:
    """Replace the one character that PostgreSQL keeps in no text."""
    return text.replace("\x00", "\ufffd")


def _write_delivered(tried: Sequence[_Tried], now: datetime) -> None:
    taken = [attempt for attempt in tried if attempt.error is None]
    if not taken:
        return
    with connection.cursor() as cursor:
        cursor.execute(_DELIVERED, [now, [attempt.item.delivery_id for attempt in taken]])
        # The subscriber answers again: what failed before need not wait any longer.
        cursor.execute(_BRING_FORWARD, {
            "now": now,
            "ids": list({attempt.sent.call.subscription_id for attempt in taken}),
            "waits": [wait_s * (1 - schedule.EARLY) for wait_s in schedule.SCHEDULE_S[1:]],
            "most": len(schedule.SCHEDULE_S) - 1,
        })  # fmt: skip


def _write_failed(verdicts: Sequence[_Verdict]) -> list[notices.Parked]:
    """Plan the next attempts, and park what has none; return what was parked."""
    if not verdicts:
        return []
    columns: list[list[Any]] = [
        [verdict.tried.item.delivery_id for verdict in verdicts],
        [verdict.tried.sent.call.lease for verdict in verdicts],
        [verdict.state.value for verdict in verdicts],
        [verdict.next_attempt_at for verdict in verdicts],
        [verdict.tried.item.attempt_count + 1 for verdict in verdicts],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_FAILED, columns)
        written = {row[0] for row in cursor.fetchall()}
    return [
        notices.Parked(verdict.tried.item.delivery_id, str(verdict.error))
        for verdict in verdicts
        if verdict.state is Delivery.State.PARKED and verdict.tried.item.delivery_id in written
    ]


def _release_held(calls: Sequence[Sent]) -> None:
    held = [
        (item.delivery_id, sent.call.lease)
        for sent in calls
        for item, result in zip(sent.call.items, sent.results, strict=True)
        if isinstance(result, TransportError) and result.held
    ]
    if held:
        with connection.cursor() as cursor:
            cursor.execute(_HELD, [list(column) for column in zip(*held, strict=True)])


def _note_health(
    rows: dict[uuid.UUID, Subscription], calls: Sequence[Sent], tried: Sequence[_Tried], now: datetime
) -> None:
    """Bring breakers and health up to date; what was removed meanwhile is left out."""
    for sent in calls:
        if (row := rows.get(sent.call.subscription_id)) is not None:
            row.calls.pop(str(sent.call.lease), None)
    for attempt in tried:
        if (row := rows.get(attempt.sent.call.subscription_id)) is None:
            continue
        breaker.note(row, attempt.result, now)
        if attempt.error is not None and attempt.error.gone:
            row.enabled, row.disabled_reason = False, str(attempt.error)[:200]
    subscriptions_save(list(rows.values()))


def _count(tried: Sequence[_Tried], verdicts: Sequence[_Verdict], now: datetime) -> None:
    for attempt in tried:
        transport = attempt.sent.call.transport
        DURATION.labels(transport=transport).observe(attempt.duration_s)
        if attempt.error is None:
            ATTEMPTS.labels(transport=transport, outcome="delivered").inc()
            DELAY.labels(transport=transport).observe((now - attempt.item.queued_at).total_seconds())
    for verdict in verdicts:
        outcome = "parked" if verdict.state is Delivery.State.PARKED else "failed"
        call = verdict.tried.sent.call
        ATTEMPTS.labels(transport=call.transport, outcome=outcome).inc()
        logger.warning(
            "Delivery %s of %s to subscription %s: %s, %s", verdict.tried.item.delivery_id,
            verdict.tried.item.message.event_id, call.subscription_id, verdict.error, outcome,
        )  # fmt: skip
