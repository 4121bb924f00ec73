"""Claim what is due: whole batches for several subscriptions in one transaction.

Claims of one subscription follow one another under its row's lock. That keeps the order within a session and bounds
the calls under way to it, whatever the number of workers. One that another worker is busy with is not waited for.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from accounts.keys import SealError
from alerts import payload
from alerts.delivery import breaker
from alerts.delivery.call import Call, Item
from alerts.delivery.rows import subscriptions_save
from alerts.models import HOLDING_ATTEMPTS, Subscription
from alerts.outgoing import Outgoing
from alerts.subscriptions import secrets_open
from alerts.transports import TRANSPORTS

LEASE = timedelta(seconds=60)
"""Longer than any transport may take. What a dead worker held comes back after it."""
BURST_S = 1.0
"""A rate that was not used is saved up for this long."""
BUSY_S = 0.02
"""After this time a subscription that another worker was claiming for is looked at again."""

# For each subscription: the sessions of what has been due longest and is not held by an earlier one of its session; and
# of each such session, in order, as many as its share. The limits keep both reads on the indexes of what is pending.
_PICK = """
SELECT wanted.id, run.session_id, run.sequence, run.id, run.attempt_count, run.queued_at, run.alert_id, run.notice_id,
       run.is_due
FROM unnest(%(ids)s::uuid[], %(rooms)s::int[], %(ordered)s::bool[]) AS wanted(id, room, ordered)
CROSS JOIN LATERAL (
    SELECT session_id, is_notice, min(next_attempt_at) AS since, wanted.room / count(*) OVER () + 1 AS share
    FROM (
        SELECT d.session_id, d.sequence IS NULL AS is_notice, d.next_attempt_at FROM alerts_delivery d
        WHERE d.subscription_id = wanted.id AND d.state = 'pending' AND d.next_attempt_at <= %(now)s
          AND (d.leased_until IS NULL OR d.leased_until <= %(now)s)
          AND NOT (wanted.ordered AND EXISTS (
              SELECT FROM alerts_delivery e
              WHERE e.subscription_id = wanted.id AND e.session_id = d.session_id AND e.state = 'pending'
                AND e.sequence < d.sequence AND e.attempt_count < %(holding)s
                AND (e.next_attempt_at > %(now)s OR e.leased_until > %(now)s)))
        ORDER BY d.next_attempt_at LIMIT wanted.room
    ) AS due
    GROUP BY session_id, is_notice
) AS found
CROSS JOIN LATERAL (
    SELECT d.*, d.next_attempt_at <= %(now)s AND (d.leased_until IS NULL OR d.leased_until <= %(now)s) AS is_due
    FROM alerts_delivery d
    WHERE d.subscription_id = wanted.id AND d.session_id = found.session_id AND d.state = 'pending'
      AND (d.sequence IS NULL) = found.is_notice
      AND (wanted.ordered OR d.next_attempt_at <= %(now)s AND (d.leased_until IS NULL OR d.leased_until <= %(now)s))
    ORDER BY d.sequence LIMIT found.share
) AS run
ORDER BY wanted.id, found.since, found.session_id, run.sequence
"""
_TEXTS = """
SELECT event_id, event_type, payload FROM alerts_alert WHERE event_id = ANY(%(ids)s)
UNION ALL
SELECT event_id, event_type, payload FROM alerts_notice WHERE event_id = ANY(%(ids)s)
"""
_LEASE = """
UPDATE alerts_delivery d SET lease = held.lease, leased_until = %s
FROM unnest(%s::bigint[], %s::uuid[]) AS held(id, lease) WHERE d.id = held.id
"""


@dataclass(slots=True)
class Claim:
    """What was claimed, and which subscriptions to look at again after how many seconds."""

    calls: list[Call] = field(default_factory=list)
    again_s: dict[uuid.UUID, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Row:
    subscription_id: uuid.UUID
    session_id: uuid.UUID
    sequence: int | None
    delivery_id: int
    attempt_count: int
    queued_at: datetime
    alert_id: uuid.UUID | None
    notice_id: uuid.UUID | None
    is_due: bool

    @property
    def event_id(self) -> uuid.UUID:
        found = self.alert_id or self.notice_id
        assert found is not None
        return found

    @property
    def blocks(self) -> bool:
        """Tell whether the later ones of its session wait for it while it cannot be sent."""
        return self.attempt_count < HOLDING_ATTEMPTS


def claim(subscription_ids: Collection[uuid.UUID], *, calls_each: int = 32) -> Claim:
    """Take what is due to these subscriptions under leases: up to ``calls_each`` calls for each, as its row allows."""
    now = timezone.now()
    made = Claim()
    if not subscription_ids:
        return made
    with transaction.atomic():
        held = Subscription.objects.select_for_update(no_key=True, skip_locked=True).in_bulk(list(subscription_ids))
        made.again_s.update(dict.fromkeys(_busy(set(subscription_ids) - held.keys()), BUSY_S))
        rooms = {row.id: room for row in held.values() if (room := _room(row, now, calls_each, made))}
        batches = {key: _batches(held[key], rows, rooms[key]) for key, rows in _pick(held, rooms, now).items()}
        messages = _messages(batches)
        for key, rows in batches.items():
            made.calls += _take(held[key], rows, messages, now)
        _lease(made.calls, now + LEASE)
        subscriptions_save([held[key] for key in batches])
    return made


@dataclass(frozen=True, slots=True)
class _Room:
    calls: int
    items: int


def _busy(missing: set[uuid.UUID]) -> Iterable[uuid.UUID]:
    """Return those that another worker holds; what is not there at all needs no second look."""
    return Subscription.objects.filter(id__in=missing).values_list("id", flat=True) if missing else ()


def _room(row: Subscription, now: datetime, calls_each: int, made: Claim) -> _Room | None:
    """Return how much may be claimed for a subscription, if anything; forget the calls of workers that died."""
    row.calls = {lease: until for lease, until in row.calls.items() if until > now.timestamp()}
    calls = min(breaker.calls_allowed(row, now) - len(row.calls), calls_each) if row.enabled else 0
    if calls <= 0:
        return None
    if breaker.state(row, now) is breaker.State.HALF_OPEN:
        return _Room(1, 1)  # the probe
    items = calls * TRANSPORTS[row.transport].MAX_BATCH
    if row.rate_per_s is not None:
        used_at = _rate_used_at(row, now)
        if (saved := int((now - used_at).total_seconds() * row.rate_per_s)) < 1:
            made.again_s[row.id] = (used_at - now).total_seconds() + 1 / row.rate_per_s
            return None
        items = min(items, saved)
    return _Room(calls, items)


def _rate_used_at(row: Subscription, now: datetime) -> datetime:
    """Return up to which moment the rate is used up; what is older than the burst is lost."""
    oldest = now - timedelta(seconds=BURST_S)
    return max(row.rate_used_at or oldest, oldest)


def _pick(
    held: Mapping[uuid.UUID, Subscription], rooms: Mapping[uuid.UUID, _Room], now: datetime
) -> dict[uuid.UUID, list[_Row]]:
    if not rooms:
        return {}
    values: dict[str, Any] = {
        "ids": list(rooms),
        "rooms": [room.items for room in rooms.values()],
        "ordered": [held[key].ordered for key in rooms],
        "holding": HOLDING_ATTEMPTS,
        "now": now,
    }
    found: dict[uuid.UUID, list[_Row]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_PICK, values)
        for values_of_row in cursor.fetchall():
            row = _Row(*values_of_row)
            found[row.subscription_id].append(row)
    return found


def _batches(subscription: Subscription, rows: Sequence[_Row], room: _Room) -> list[list[_Row]]:
    """Deal the sessions' runs out to the calls, each run whole and in order, until the room is used up."""
    most = TRANSPORTS[subscription.transport].MAX_BATCH
    batches: list[list[_Row]] = [[] for _ in range(room.calls)]
    left = room.items
    for number, run in enumerate(_runs(rows, in_order=subscription.ordered)):
        batch = min(batches[number % room.calls :] + batches[: number % room.calls], key=len)
        taken = run[: min(most - len(batch), left)]
        batch += taken
        left -= len(taken)
    return [batch for batch in batches if batch]


def _runs(rows: Sequence[_Row], *, in_order: bool) -> Iterator[list[_Row]]:
    """Yield what can be sent of each session: up to the first that has to wait and holds the later ones."""
    by_session: dict[tuple[uuid.UUID, bool], list[_Row]] = defaultdict(list)
    for row in rows:
        by_session[row.session_id, row.sequence is None].append(row)
    for run in by_session.values():
        yield list(_sendable(run) if in_order else (row for row in run if row.is_due))


def _sendable(run: Iterable[_Row]) -> Iterator[_Row]:
    for row in run:
        if row.is_due:
            yield row
        elif row.blocks and row.sequence is not None:
            return


def _messages(batches: Mapping[uuid.UUID, list[list[_Row]]]) -> dict[uuid.UUID, Outgoing]:
    """Read and write out all that was picked, once each; to whom it goes is added later."""
    ids = {row.event_id for of_one in batches.values() for batch in of_one for row in batch}
    if not ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_TEXTS, {"ids": list(ids)})
        return {event_id: outgoing(event_type, json.loads(text)) for event_id, event_type, text in cursor.fetchall()}


def _take(
    subscription: Subscription,
    batches: Iterable[list[_Row]],
    messages: Mapping[uuid.UUID, Outgoing],
    now: datetime,
) -> Iterator[Call]:
    """Make the calls and note them, and what they use of the rate, in the row."""
    try:
        secrets, refused = secrets_open(subscription, now), ""
    except SealError as error:
        secrets, refused = (), f"The secret cannot be opened: {error}"
    for batch in batches:
        lease = uuid.uuid4()
        subscription.calls[str(lease)] = (now + LEASE).timestamp()
        if subscription.rate_per_s is not None:
            spent = timedelta(seconds=len(batch) / subscription.rate_per_s)
            subscription.rate_used_at = _rate_used_at(subscription, now) + spent
        items = []
        for row in batch:
            message = dataclasses.replace(messages[row.event_id], address=subscription.url, secrets=secrets)
            items.append(Item(row.delivery_id, row.attempt_count, row.queued_at, message))
        yield Call(
            lease=lease,
            organisation_id=subscription.organisation_id,
            subscription_id=subscription.id,
            transport=subscription.transport,
            items=tuple(items),
            refused=refused,
        )


def outgoing(
    event_type: str, document: Mapping[str, Any], *, address: str = "", secrets: tuple[str, ...] = ()
) -> Outgoing:
    """Return an alert or a notice as transports take it."""
    return Outgoing(
        event_id=document["event_id"],
        session_id=document["exam_session_id"],
        event_type=event_type,
        schema_version=document["metadata"]["schema_version"],
        timestamp=document["timestamp"],
        body=payload.body(document),
        address=address,
        secrets=secrets,
    )


def _lease(calls: Sequence[Call], until: datetime) -> None:
    ids = [item.delivery_id for call in calls for item in call.items]
    if ids:
        leases = [call.lease for call in calls for _ in call.items]
        with connection.cursor() as cursor:
            cursor.execute(_LEASE, [until, ids, leases])
