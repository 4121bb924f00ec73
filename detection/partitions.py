"""Make the monthly partitions of the detections table ahead of time."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

TABLE = "detection_detection"
DEFAULT_PARTITION = f"{TABLE}_default"
MONTHS_AHEAD = 2
_LOCK_ID = 0x5D9A_0001
"""PostgreSQL advisory lock: two processes that start together do not make the same partition."""
_LOCK_TIMEOUT_MS = 5000
"""Attaching waits for running inserts, and new ones wait behind it: rather give up and try again tomorrow."""


def month_starts(now: datetime, months_ahead: int) -> list[datetime]:
    """List the first instant (UTC) of this month and of the next ``months_ahead`` + 1, the last being only an end."""
    month = now.astimezone(UTC).year * 12 + now.astimezone(UTC).month - 1
    return [datetime(m // 12, m % 12 + 1, 1, tzinfo=UTC) for m in range(month, month + months_ahead + 2)]


def partition_name(start: datetime) -> str:
    """Name the partition of the month that begins at ``start``."""
    return f"{TABLE}_y{start.year:04d}m{start.month:02d}"


def ensure_partitions(
    *, months_ahead: int = MONTHS_AHEAD, now: datetime | None = None, using: str = "default"
) -> list[str]:
    """Create the missing partitions of this month and the next ``months_ahead``; return the names of the new ones.

    Rows that already lie in the default partition move into the new one.
    """
    starts = month_starts(now or timezone.now(), months_ahead)
    created: list[str] = []
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = %s", [_LOCK_TIMEOUT_MS])
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_ID])
        for start, end in pairwise(starts):
            if _create_partition(cursor, partition_name(start), start, end):
                created.append(partition_name(start))
    return created


def _create_partition(cursor: CursorWrapper, name: str, start: datetime, end: datetime) -> bool:
    cursor.execute("SELECT to_regclass(%s)", [name])
    row = cursor.fetchone()
    if row is None or row[0] is not None:
        return False
    # S608: the names are made above, of constants and numbers; identifiers cannot be parameters.
    cursor.execute(f"CREATE TABLE {name} (LIKE {TABLE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    # The default partition must hold no row of the month when the new one is attached, nor get one in between.
    cursor.execute(f"LOCK TABLE {DEFAULT_PARTITION} IN ACCESS EXCLUSIVE MODE")
    cursor.execute(
        f"WITH moved AS (DELETE FROM {DEFAULT_PARTITION} WHERE captured_at >= %s AND captured_at < %s RETURNING *) "  # noqa: S608
        f"INSERT INTO {name} SELECT * FROM moved",
        [start, end],
    )
    cursor.execute(f"ALTER TABLE {TABLE} ATTACH PARTITION {name} FOR VALUES FROM (%s) TO (%s)", [start, end])
    return True


def ensure_partitions_after_migrate(*, using: str = "default", **_signal: Any) -> None:
    """Receive Django's ``post_migrate``: a fresh database gets its first partitions."""
    if "detection_detection" in connections[using].introspection.table_names():
        ensure_partitions(using=using)
