"""Expired detections: months of which all has expired are dropped whole, of others sessions' rows go in batches."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet

from detection.partitions import DEFAULT_PARTITION, TABLE
from proctor_site.retention.report import Budget, Report
from sessions.holds import holds_settle, session_held
from sessions.models import ExamSession
from sessions.retention import DETECTIONS, Scope, scopes

logger = logging.getLogger(__name__)

CHUNK: Final = 5_000
"""Rows removed in one transaction."""
SESSIONS: Final = 200
"""Sessions looked after in one statement."""
_LOCK_TIMEOUT_MS: Final = 5_000
"""Dropping waits for running inserts, and new ones wait behind it: rather give up and try again next time."""
_NAME: Final = re.compile(rf"{TABLE}_y(\d{{4}})m(\d{{2}})")

_PARTITIONS = """
SELECT c.relname, greatest(c.reltuples, 0)::bigint FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'detection_detection'::regclass ORDER BY c.relname
"""
# The key begins with the session: from one session to the next by the index alone, whatever lies between.
_SESSIONS_IN = """
WITH RECURSIVE found(id) AS (
    (SELECT session_id FROM {table} ORDER BY session_id LIMIT 1)
    UNION ALL
    SELECT (SELECT session_id FROM {table} WHERE session_id > found.id ORDER BY session_id LIMIT 1)
    FROM found WHERE found.id IS NOT NULL
) SELECT id FROM found WHERE id IS NOT NULL
"""
_EXPIRED = "FROM {table} WHERE session_id = ANY(%s::uuid[]) AND captured_at < %s"
_DELETE = (
    "DELETE FROM {table} WHERE (session_id, captured_at, sample_id) IN "
    "(SELECT session_id, captured_at, sample_id {expired} LIMIT %s)"
)


@dataclass(frozen=True, slots=True)
class Partition:
    """A part of the table: a month, or, without times, what lies in no month that was made."""

    name: str
    rows: int
    """About how many."""
    starts_at: datetime | None = None
    ends_at: datetime | None = None


def detections_expire(*, now: datetime, report: Report, budget: Budget) -> None:
    """Remove what has expired, or count it."""
    kept = list(scopes(DETECTIONS))
    longest = _longest(kept, now)
    for partition in partitions():
        all_expired = partition.ends_at is not None and longest is not None and partition.ends_at <= longest
        if all_expired and _drop(partition, report):
            continue
        due = [scope for scope in kept if _may_have_expired(partition, scope, now)]
        present = _sessions_in(partition) if due else []
        for scope in due:
            if not _expire(partition, present, scope, now, report, budget):
                report.unfinished = True
                return


def partitions() -> Iterator[Partition]:
    """Yield the table's parts, the oldest month first and the default one last."""
    with connection.cursor() as cursor:
        cursor.execute(_PARTITIONS)
        rows = cursor.fetchall()
    default = [Partition(name, count) for name, count in rows if name == DEFAULT_PARTITION]
    for name, count in rows:
        if match := _NAME.fullmatch(name):
            starts_at = datetime(int(match[1]), int(match[2]), 1, tzinfo=UTC)
            month = starts_at.year * 12 + starts_at.month
            yield Partition(name, count, starts_at, datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC))
    yield from default


def _longest(kept: Sequence[Scope], now: datetime) -> datetime | None:
    """Return before when everybody's detections have expired; None where somebody keeps them without limit."""
    cutoffs = [scope.cutoff(now) for scope in kept]
    return None if None in cutoffs else min((at for at in cutoffs if at is not None), default=now)


def _drop(partition: Partition, report: Report) -> bool:
    """Drop a month of which everything has expired; tell whether that is done, which a hold or a lock may forbid."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            holds_settle()
            held = list(ExamSession.objects.filter(session_held()).values_list("id", flat=True))
            cursor.execute(_sql("SELECT 1 {expired} LIMIT 1", partition), [held, partition.ends_at])
            if cursor.fetchone() is not None:
                return False
            if not report.dry_run:
                cursor.execute("SET LOCAL lock_timeout = %s", [_LOCK_TIMEOUT_MS])
                cursor.execute(_sql("DROP TABLE {table}", partition))
    except OperationalError as error:
        logger.warning("The month %s could not be dropped and is tried again: %s", partition.name, error)
        report.unfinished = True
        return True
    report.add_partition(partition.name, partition.rows)
    return True


def _may_have_expired(partition: Partition, scope: Scope, now: datetime) -> bool:
    cutoff = scope.cutoff(now)
    return cutoff is not None and (partition.starts_at is None or partition.starts_at < cutoff)


def _sessions_in(partition: Partition) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(_sql(_SESSIONS_IN, partition))
        return [row[0] for row in cursor.fetchall()]


def _expire(
    partition: Partition, present: Sequence[UUID], scope: Scope, now: datetime, report: Report, budget: Budget
) -> bool:
    """Remove a scope's expired rows from one part, some of the sessions ``present`` there at a time.

    Return False when the time is over.
    """
    cutoff = scope.cutoff(now)
    assert cutoff is not None
    for start in range(0, len(present), SESSIONS):
        sessions = ExamSession.objects.filter(scope.sessions(), id__in=present[start : start + SESSIONS])
        due = sessions.filter(created_at__lt=cutoff).exclude(session_held()).values_list("id", flat=True)
        if due.exists() and not _remove(partition, due, cutoff, scope.organisation_id, report, budget):
            return False
    return True


def _remove(
    partition: Partition,
    due: QuerySet[ExamSession, UUID],
    cutoff: datetime,
    organisation_id: int,
    report: Report,
    budget: Budget,
) -> bool:
    if report.dry_run:
        with connection.cursor() as cursor:
            cursor.execute(_sql("SELECT count(*) {expired}", partition), [list(due), cutoff])
            report.add(DETECTIONS, organisation_id, cursor.fetchone()[0])
        return True
    while not budget.is_spent:
        with transaction.atomic(), connection.cursor() as cursor:
            holds_settle()
            cursor.execute(_sql(_DELETE, partition), [list(due.all()), cutoff, CHUNK])
            gone = cursor.rowcount
        report.add(DETECTIONS, organisation_id, gone)
        if gone < CHUNK:
            return True
    return False


def _sql(statement: str, partition: Partition) -> str:
    """Fill in the part's name, which cannot be a parameter; ``partitions`` lets none but our own through."""
    return statement.format(table=partition.name, expired=_EXPIRED.format(table=partition.name))
