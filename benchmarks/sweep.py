"""What finding due deliveries costs, among ten thousand delivered ones and among a million.

Twenty subscriptions, fifty deliveries due to each. Timed are the sweep's query and one claim for all subscriptions,
which is rolled back; the pages of the database that they touch are counted, and need no quiet machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from benchmarks import bed

SIZES = (10_000, 1_000_000)
SUBSCRIPTIONS = 20
DUE_EACH = 50
SESSIONS = 200
REPEATS = 30
GROWTH = 1.5
"""How much the pages touched may grow while the delivered rows grow a hundredfold."""

_ALERTS = """
INSERT INTO alerts_alert (event_id, organisation_id, session_id, incident_id, sequence, event_type, phase, payload,
                          created_at)
SELECT gen_random_uuid(), organisation_id, session_id, incident_id, 10000000 + n, event_type, phase, '{}', now()
FROM alerts_alert, generate_series(1, %(count)s) AS n WHERE event_id = %(like)s
"""
_DELIVERIES = """
INSERT INTO alerts_delivery (organisation_id, alert_id, subscription_id, session_id, sequence, state, attempt_count,
                             next_attempt_at, delivered_at, queued_at, created_at)
SELECT a.organisation_id, a.event_id, s.id, a.session_id, a.sequence, 'delivered', 1, now(), now(), now(), now()
FROM alerts_alert a, alerts_subscription s
WHERE a.organisation_id = s.organisation_id AND a.sequence > 10000000
ON CONFLICT DO NOTHING
"""


def grow(owner: Any, like: Any, delivered: int) -> None:
    """Have this many delivered rows in all."""
    from django.db import connection

    from alerts.models import Alert, Delivery

    lacking = delivered // SUBSCRIPTIONS - Alert.objects.filter(organisation=owner, sequence__gt=10_000_000).count()
    with connection.cursor() as cursor:
        cursor.execute(_ALERTS.replace("10000000 + n", "10000000 + n + %(base)s"), {
            "count": lacking, "like": like.event_id, "base": delivered,
        })  # fmt: skip
        cursor.execute(_DELIVERIES)
        cursor.execute("VACUUM ANALYZE alerts_delivery, alerts_alert, alerts_subscription")
    assert Delivery.objects.filter(state="delivered").count() == delivered


def timed(work: Any) -> float:
    """Return the median milliseconds of the work."""
    took = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(took), 2)


def pages(work: Any) -> int:
    """Return how many pages of the deliveries and their indexes the work touches."""
    from django.db import connection

    def touched() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute(
                "SELECT heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read FROM pg_statio_user_tables "
                "WHERE relname = 'alerts_delivery'"
            )
            return int(cursor.fetchone()[0])

    before = touched()
    work()
    return touched() - before


def measure(owner: Any) -> dict[str, Any]:
    """Measure the sweep's query and a claim."""
    from django.db import transaction
    from django.utils import timezone

    from alerts.delivery.claim import claim
    from alerts.models import Subscription

    ids = list(Subscription.objects.filter(organisation=owner).values_list("id", flat=True))

    def sweep() -> None:
        assert len(Subscription.objects.with_due(timezone.now()).values_list("id", flat=True)) == SUBSCRIPTIONS

    def claim_all() -> None:
        with transaction.atomic():
            made = claim(ids)
            assert sum(len(call.items) for call in made.calls) >= SUBSCRIPTIONS
            transaction.set_rollback(True)

    return {
        "sweep_ms": timed(sweep), "sweep_pages": pages(sweep), "claim_ms": timed(claim_all),
        "claim_pages": pages(claim_all),
    }  # fmt: skip


def run(sizes: tuple[int, ...]) -> dict[str, Any]:
    """Measure at each size."""
    with bed.own_services():
        from benchmarks import outbox

        owner = outbox.organisation()
        many = [outbox.subscribe(owner, "webhook", f"https://93.184.216.34/{n}") for n in range(SUBSCRIPTIONS)]
        outbox.fill(owner, among := outbox.sessions(owner, SESSIONS), DUE_EACH, many)
        like, found = outbox.apply(among[-1]), {}
        like.deliveries.all().delete()
        for size in sizes:
            grow(owner, like, size)
            found[f"{size}_delivered"] = measure(owner)
    first, last = (found[f"{size}_delivered"] for size in (sizes[0], sizes[-1]))
    growth = {name: round(last[name] / first[name], 2) for name in first}
    return {
        "what": f"{SUBSCRIPTIONS} subscriptions with {DUE_EACH} due deliveries each; a claim for all of them at once",
        **found,
        "growth": growth,
        "within_budget": growth["sweep_pages"] <= GROWTH and growth["claim_pages"] <= GROWTH,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="delivered rows")
    bed.report("sweep", run(tuple(parser.parse_args().sizes)))


if __name__ == "__main__":
    main()
