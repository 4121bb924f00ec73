"""All alerts of an organisation in one order, to be read from any place on: for gRPC, proctors' sockets and the CLI.

Within a session alerts are numbered under the session's lock. Over all sessions nothing numbers them while they are
written: transactions commit in another order than they began, so whoever reads by a serial number or a time misses the
row that commits late. Therefore an alert gets its ``position`` after its commit. ``place`` does that for all that have
none, one caller at a time (an advisory lock held until its own commit). So whoever sees a position sees all before it,
however long other transactions take, and positions survive a dump and a restore. Readers place before they read; the
sweep does too, so that the backlog is short. Erased alerts leave holes; no position is ever given twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from django.db import connection, transaction
from django.db.models import Max

from accounts.models import Organisation
from alerts.models import Alert, AlertQuerySet

BEGINNING: Final = 0
"""The position before all alerts."""
PAGE: Final = 100
"""Alerts read at a time, unless the caller says otherwise."""
_LOCK: Final = 0x5D_A1E7
"""PostgreSQL's advisory lock of who gives positions."""

_PLACE: Final = """
    WITH waiting AS (
        SELECT event_id FROM (
            SELECT event_id, session_id, sequence,
                   max(created_at) OVER (PARTITION BY session_id ORDER BY sequence) AS reached
            FROM alerts_alert WHERE position IS NULL
        ) AS unplaced
        ORDER BY reached, session_id, sequence
    ), placed AS (
        SELECT event_id, nextval('alerts_alert_position') AS position FROM waiting
    )
    UPDATE alerts_alert SET position = placed.position FROM placed WHERE alerts_alert.event_id = placed.event_id
"""
"""By time of writing, and within a session by sequence whatever the clocks of the workers say."""


class Filterable(Protocol):
    """What filters look at."""

    @property
    def session_id(self) -> uuid.UUID: ...
    @property
    def exam_id(self) -> str | None: ...
    @property
    def event_type(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Filters:
    """Which alerts are wanted; empty: all. ``session_id`` is our own id, ``exam_ids`` are the platform's names."""

    session_id: uuid.UUID | None = None
    exam_ids: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()

    def apply(self, alerts: AlertQuerySet) -> AlertQuerySet:
        """Narrow a query down to what is wanted."""
        if self.session_id is not None:
            alerts = alerts.filter(session_id=self.session_id)
        if self.exam_ids:
            alerts = alerts.filter(session__exam__exam_id__in=self.exam_ids)
        return alerts.filter(event_type__in=self.event_types) if self.event_types else alerts

    def match(self, alert: Filterable) -> bool:
        """Tell of an alert at hand what ``apply`` asks the database."""
        if self.session_id is not None and alert.session_id != self.session_id:
            return False
        if self.exam_ids and alert.exam_id not in self.exam_ids:
            return False
        return not self.event_types or alert.event_type in self.event_types


@dataclass(frozen=True, slots=True)
class Page:
    """Alerts in order. ``position``: how far they were read, filtered ones included. ``more``: read on at once."""

    alerts: Sequence[Alert]
    position: int
    more: bool


class EventUnknownError(LookupError):
    """An event to resume after that was never issued to this organisation, or is not kept any more."""

    def __init__(self, event_id: str, oldest_event_id: uuid.UUID | None) -> None:
        super().__init__(f"There is no alert '{event_id}': it was never issued or is not kept any more.")
        self.oldest_event_id = oldest_event_id
        """The first alert that can still be had, or None when there is none."""


def place() -> int:
    """Give every committed alert that has none its position; return how many got one.

    Costs one look at a small index when there is nothing to do. Call it outside of a transaction: inside one, nobody
    else can place or see these positions before it ends.
    """
    if not Alert.objects.filter(position=None).exists():
        return 0
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])  # a statement of its own: the next one sees more
        cursor.execute(_PLACE)
        return int(cursor.rowcount)


def newest(organisation: Organisation) -> int:
    """Return the position of the organisation's last alert: from here on, everything is news."""
    place()
    return _newest(organisation)


def _newest(organisation: Organisation) -> int:
    last: int | None = Alert.objects.of(organisation).aggregate(last=Max("position"))["last"]
    return BEGINNING if last is None else last


def last_until(organisation: Organisation, position: int, filters: Filters) -> uuid.UUID | None:
    """Return the last alert at or before ``position`` that passes the filters, or None when there is none."""
    alerts = filters.apply(Alert.objects.of(organisation).filter(position__lte=position))
    return alerts.order_by("-position").values_list("event_id", flat=True).first()


def cursor_of(organisation: Organisation, event_id: str, filters: Filters | None = None) -> int:
    """Return the position after which to go on for somebody who has had the alert ``event_id``.

    Raises ``EventUnknownError`` with the oldest alert that passes ``filters`` when the organisation has no such alert.
    """
    place()
    alerts = Alert.objects.of(organisation).exclude(position=None)
    try:
        known = alerts.filter(event_id=uuid.UUID(event_id)).values_list("position", flat=True).first()
    except ValueError:
        known = None
    if known is None:
        wanted = (filters or Filters()).apply(alerts)
        raise EventUnknownError(event_id, wanted.order_by("position").values_list("event_id", flat=True).first())
    return known


def alerts_after(organisation: Organisation, position: int, filters: Filters | None = None, limit: int = PAGE) -> Page:
    """Return up to ``limit`` alerts of an organisation after ``position``, oldest first.

    Read on at ``Page.position``. What is not there yet will come later at a higher position, never before one returned.
    """
    place()
    last = _newest(organisation)
    between = Alert.objects.of(organisation).filter(position__gt=position, position__lte=last)
    alerts = list((filters or Filters()).apply(between).order_by("position")[:limit])
    if len(alerts) == limit and alerts[-1].position is not None:
        return Page(alerts, alerts[-1].position, more=True)
    return Page(alerts, max(position, last), more=False)
