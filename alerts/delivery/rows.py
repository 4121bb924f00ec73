"""Write many rows by one statement each: what claiming and settling share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.db import connection

from alerts.models import Subscription

_SAVE = """
UPDATE alerts_subscription s
SET calls = v.calls, rate_used_at = v.rate_used_at, enabled = s.enabled AND v.enabled,
    disabled_reason = v.disabled_reason, last_success_at = v.last_success_at, failing_since = v.failing_since,
    failure_count = v.failure_count, breaker_until = v.breaker_until, breaker_trips = v.breaker_trips
FROM unnest(%s::uuid[], %s::jsonb[], %s::timestamptz[], %s::bool[], %s::text[], %s::timestamptz[], %s::timestamptz[],
            %s::int[], %s::timestamptz[], %s::int[])
    AS v(id, calls, rate_used_at, enabled, disabled_reason, last_success_at, failing_since, failure_count,
         breaker_until, breaker_trips)
WHERE s.id = v.id
"""


def subscriptions_save(rows: Sequence[Subscription]) -> None:
    """Save what the deliveries know of subscriptions. The caller has read the rows under their locks."""
    if not rows:
        return
    columns: list[list[Any]] = [
        [row.id for row in rows],
        [json.dumps(row.calls) for row in rows],
        [row.rate_used_at for row in rows],
        [row.enabled for row in rows],
        [row.disabled_reason for row in rows],
        [row.last_success_at for row in rows],
        [row.failing_since for row in rows],
        [row.failure_count for row in rows],
        [row.breaker_until for row in rows],
        [row.breaker_trips for row in rows],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_SAVE, columns)
